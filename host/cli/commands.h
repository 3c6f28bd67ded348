#pragma once

#include <span>
#include <string>
#include <vector>

namespace filterscope::cli {

/// Each takes what follows the subcommand's name and returns the exit code; failures are Errors.
int run_render(const std::vector<std::string>& arguments);
int run_merge(const std::vector<std::string>& arguments);
int run_gallery(const std::vector<std::string>& arguments);
int run_list(const std::vector<std::string>& arguments);
int run_info(const std::vector<std::string>& arguments);

}  // namespace filterscope::cli
