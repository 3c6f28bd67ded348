#include "input_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <sstream>
#include <system_error>
#include <utility>

#include "error.h"
#include "exhaustion.h"

namespace filterscope {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw Error(ErrorKind::input, fmt::format("{}: cannot be read: {}{}", path.string(),
                                            std::generic_category().message(error), reading_advice(error)));
}

bool read_rest(std::ifstream& file, std::string& text) {
  std::ostringstream all;
  if (file.peek() != std::ifstream::traits_type::eof()) all << file.rdbuf();
  text = std::move(all).str();
  return !file.bad() && all;
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
  std::string text;
  if (!file || !read_rest(file, text)) return {};
  return {text.begin(), text.end()};
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return std::nullopt;
  if (!std::filesystem::exists(status)) fail(path, error.value());
  // Reading a pipe or a device could wait for ever.
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
