#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>

namespace filterscope::weights_formats {

enum class Container { hdf5, safetensors };

/// The format of a weights file, by its first bytes. Throws an input Error for any other file, which says
/// what it is and how to convert it. `stream` reads the file from its start.
Container container_of(const std::filesystem::path& path, std::istream& stream, std::uintmax_t size);

}  // namespace filterscope::weights_formats
