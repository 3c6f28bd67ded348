#include "input_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>

#include "error.h"
#include "exhaustion.h"

namespace filterscope {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw Error(ErrorKind::input, fmt::format("{}: cannot be read: {}{}", path.string(),
                                            std::generic_category().message(error), reading_advice(error)));
}

// Reads the rest of a file into a std::string or a vector of bytes; false if it cannot be read. The standard
// library's string streams would take a lack of memory for the end of the file.
template <class Bytes>
bool read_rest(std::ifstream& file, Bytes& bytes) {
  constexpr std::size_t kLeast = std::size_t{1} << 16;
  std::size_t size = 0;
  while (file) {
    bytes.resize(size + std::max(size, kLeast));
    file.read(reinterpret_cast<char*>(bytes.data()) + size,
              static_cast<std::streamsize>(bytes.size() - size));
    size += static_cast<std::size_t>(file.gcount());
  }
  bytes.resize(size);
  return !file.bad();
}

}  // namespace

std::ifstream open_result(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file && is_exhaustion(errno)) fail(path, errno);
  return file;
}

std::vector<std::uint8_t> read_result_file(const std::filesystem::path& path) {
  std::ifstream file = open_result(path);
  std::vector<std::uint8_t> bytes;
  errno = 0;
  if (!file || !read_rest(file, bytes)) {
    if (is_exhaustion(errno)) fail(path, errno);
    return {};
  }
  return bytes;
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return std::nullopt;
  if (!std::filesystem::exists(status)) fail(path, error.value());
  // Reading a pipe or a device could wait forever.
  if (!std::filesystem::is_regular_file(status))
    throw Error(ErrorKind::input,
                fmt::format("{}: expected a file, found something else; move it away or give "
                            "another folder",
                            path.string()));
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (!file || !read_rest(file, text)) fail(path, errno != 0 ? errno : EIO);
  return text;
}

}  // namespace filterscope
