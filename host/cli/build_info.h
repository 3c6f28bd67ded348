#pragma once

#include <string>
#include <utility>
#include <vector>

namespace filterscope::cli {

/// How the program was built: build type, compiler, CUDA.
std::vector<std::pair<std::string, std::string>> build_facts();
/// The libraries beside those of the engines, name and version.
std::vector<std::pair<std::string, std::string>> compiled_library_versions();

}  // namespace filterscope::cli
