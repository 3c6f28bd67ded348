#pragma once

#include <span>
#include <string>
#include <vector>

namespace filterscope::cli {

/// Each takes the arguments after the subcommand's name and returns the exit code; failures throw Error.
int run_render(const std::vector<std::string>& arguments);
int run_merge(const std::vector<std::string>& arguments);
int run_gallery(const std::vector<std::string>& arguments);
int run_recipes(const std::vector<std::string>& arguments);
int run_list(const std::vector<std::string>& arguments);
int run_info(const std::vector<std::string>& arguments);

}  // namespace filterscope::cli
