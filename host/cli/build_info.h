#pragma once

#include <string>
#include <utility>
#include <vector>

namespace filterscope::cli {

/// How the program was built: build type, compiler, CUDA.
std::vector<std::pair<std::string, std::string>> build_facts();
/// Names and versions of the libraries that the program uses besides those of the engines.
std::vector<std::pair<std::string, std::string>> compiled_library_versions();

}  // namespace filterscope::cli
