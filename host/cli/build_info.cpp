#include "build_info.h"

#include <fmt/format.h>
#include <hdf5.h>

#include <nlohmann/json.hpp>

#include "options.h"

namespace filterscope::cli {

std::vector<std::pair<std::string, std::string>> build_facts() {
  return {
      {"build type", FILTERSCOPE_BUILD_TYPE},
      {"compiler", FILTERSCOPE_COMPILER},
      {"CUDA at build", FILTERSCOPE_CUDA_AT_BUILD},
  };
}

std::vector<std::pair<std::string, std::string>> compiled_library_versions() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  return {
      {"HDF5", fmt::format("{}.{}.{}", major, minor, release)},
      {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"nlohmann json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                    NLOHMANN_JSON_VERSION_PATCH)},
      {"stb_image_write", FILTERSCOPE_STB_VERSION},
      {"cxxopts", option_library_version()},
  };
}

}  // namespace filterscope::cli
