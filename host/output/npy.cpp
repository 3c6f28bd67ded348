#include "npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../base/error.h"
#include "../base/exhaustion.h"
#include "../base/input_file.h"
#include "../base/text.h"

namespace filterscope {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are written to .npy files without conversion");

constexpr std::string_view kMagic{"\x93NUMPY", 6};
constexpr int kChannels = 3;
/// The size of the headers written here: room for every shape, and a multiple of 64, as NumPy requires.
constexpr std::size_t kHeaderSize = 128;
/// More start images than any run needs: 4224 of 448 x 448.
constexpr std::uint64_t kMaxBytes = std::uint64_t{10} << 30;
constexpr int kMaxSide = 1 << 15;

std::size_t values_of(Extent extent) {
  return static_cast<std::size_t>(extent.positions()) * kChannels;
}

std::uint64_t bytes_of_image(Extent extent) {
  return values_of(extent) * sizeof(float);
}

std::string header(std::int64_t rows, Extent extent) {
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}, {}, {}), }}",
                                 rows, extent.height, extent.width, kChannels);
  const std::size_t length = kHeaderSize - kMagic.size() - 4;
  text.resize(length - 1, ' ');
  text += '\n';
  std::string bytes(kMagic);
  bytes += {'\x01', '\x00', static_cast<char>(length), '\x00'};
  return bytes + text;
}

/// The contents of a .npy header.
struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
};

/// Reads the dictionary of a .npy header: a Python literal with the keys 'descr', 'fortran_order' and
/// 'shape', in any order. Rejects anything else, such as the list that describes a structured type.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  std::optional<Header> parse() {
    Header header;
    std::array<bool, 3> seen{};
    if (!take('{')) return std::nullopt;
    while (!take('}')) {
      const std::optional<std::string> key = string();
      if (!key || !take(':')) return std::nullopt;
      if (*key == "descr" && !seen[0]) {
        const std::optional<std::string> descr = string();
        if (!descr) return std::nullopt;
        header.descr = *descr;
        seen[0] = true;
      } else if (*key == "fortran_order" && !seen[1]) {
        const bool yes = take("True");
        if (!yes && !take("False")) return std::nullopt;
        header.fortran_order = yes;
        seen[1] = true;
      } else if (*key == "shape" && !seen[2]) {
        if (!shape(header.shape)) return std::nullopt;
        seen[2] = true;
      } else {
        return std::nullopt;
      }
      if (!take(',')) {
        if (!take('}')) return std::nullopt;
        break;
      }
    }
    skip_space();
    if (!rest_.empty() || !std::ranges::all_of(seen, std::identity{})) return std::nullopt;
    return header;
  }

 private:
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size())); }

  bool take(std::string_view token) {
    skip_space();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  bool take(char token) { return take(std::string_view(&token, 1)); }

  std::optional<std::string> string() {
    skip_space();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return std::nullopt;
    const std::size_t end = rest_.find(rest_[0], 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string value(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return value;
  }

  bool shape(std::vector<std::uint64_t>& sizes) {
    if (!take('(')) return false;
    while (!take(')')) {
      skip_space();
      std::uint64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc{}) return false;
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      sizes.push_back(size);
      if (!take(',')) return take(')');
    }
    return true;
  }

  std::string_view rest_;
};

constexpr std::string_view kExpected =
    "expected a .npy file of float32 (numpy: '<f4', C order), shape [height, width, 3] or [n, height, width, "
    "3]";
constexpr std::string_view kAdvice =
    "save it with numpy.save(file, numpy.ascontiguousarray(images, dtype=numpy.float32))";
const std::string kTransposeOne =
    "if its channels come first, save it with numpy.save(file, "
    "numpy.ascontiguousarray(images.transpose(1, 2, 0), dtype=numpy.float32))";
const std::string kTransposeMany =
    "if their channels come first, save them with numpy.save(file, "
    "numpy.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=numpy.float32))";

std::string bytes_text(std::uint64_t bytes) {
  return counted(static_cast<std::int64_t>(bytes), "byte");
}

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view found,
                         std::string_view advice = kAdvice) {
  throw Error(ErrorKind::input,
              fmt::format("--init {}: {}; found {}; {}", path.string(), kExpected, found, advice));
}

}  // namespace

NpyImageWriter::NpyImageWriter(std::filesystem::path path, int rows, Extent extent)
    : file_(std::move(path)), rows_(rows), extent_(extent) {
  const std::string start = header(rows, extent);
  file_.append(std::as_bytes(std::span(start)));
}

void NpyImageWriter::append(std::span<const float> image) {
  if (image.size() != values_of(extent_))
    throw std::invalid_argument("NpyImageWriter: the image has another size");
  file_.append(std::as_bytes(image));
  ++written_;
}

void NpyImageWriter::finish() {
  if (written_ != rows_)
    throw std::logic_error("NpyImageWriter: the number of images is not the one announced");
  file_.commit();
}

bool holds_images(const std::filesystem::path& path, std::int64_t rows, Extent extent) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size != kHeaderSize + static_cast<std::uint64_t>(rows) * bytes_of_image(extent)) return false;
  std::ifstream file = open_result(path);
  std::string start(kHeaderSize, '\0');
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  return file && start == header(rows, extent);
}

std::vector<float> read_image(const std::filesystem::path& path, int rows, int row, Extent extent) {
  std::vector<float> image(values_of(extent));
  std::ifstream file = open_result(path);
  file.seekg(
      static_cast<std::streamoff>(kHeaderSize + static_cast<std::uint64_t>(row) * bytes_of_image(extent)));
  file.read(reinterpret_cast<char*>(image.data()), static_cast<std::streamsize>(bytes_of_image(extent)));
  if (!file || !holds_images(path, rows, extent))
    throw Error(ErrorKind::input, fmt::format("{}: the unscaled images cannot be read; delete the file and "
                                              "render them again with --raw",
                                              path.string()));
  return image;
}

InitialImages read_initial_images(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status))
    throw Error(ErrorKind::input,
                fmt::format("--init {}: {}; {}", path.string(), missing_text(path), kExpected));
  // Reading a pipe or a device could wait forever.
  if (!std::filesystem::is_regular_file(status)) refuse(path, "something that is not a regular file");
  const std::uint64_t file_size = std::filesystem::file_size(path, error);
  errno = error.value();
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    throw Error(ErrorKind::input, fmt::format("--init {}: the file cannot be read: {}{}", path.string(),
                                              std::generic_category().message(errno), reading_advice(errno)));

  // The length of the header has two bytes in format 1, four in formats 2 and 3.
  std::array<unsigned char, 12> start{};
  file.read(reinterpret_cast<char*>(start.data()), start.size());
  if (file.bad())
    throw Error(ErrorKind::input, fmt::format("--init {}: the file cannot be read: {}", path.string(),
                                              std::generic_category().message(errno)));
  if (static_cast<std::size_t>(file.gcount()) < start.size() ||
      !std::equal(kMagic.begin(), kMagic.end(), start.begin(),
                  [](char a, unsigned char b) { return static_cast<unsigned char>(a) == b; }))
    refuse(path, fmt::format("a file of {} that does not begin like a .npy file", bytes_text(file_size)));
  const int format = start[6];
  if (format < 1 || format > 3) refuse(path, fmt::format("version {} of the .npy format", format));
  const std::uint64_t prefix = format == 1 ? 10 : 12;
  std::uint64_t header_size = start[8] | start[9] << 8;
  if (format > 1) header_size |= std::uint64_t{start[10]} << 16 | std::uint64_t{start[11]} << 24;
  // A shape of up to four numbers needs far less; NumPy itself reads at most 10000 bytes.
  constexpr std::uint64_t kMaxHeader = 65536;
  if (header_size > kMaxHeader || prefix + header_size > file_size)
    refuse(path, fmt::format("a header of {} in a file of {} (damaged or cut off)", bytes_text(header_size),
                             bytes_text(file_size)));
  std::string text(header_size, '\0');
  file.seekg(static_cast<std::streamoff>(prefix));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file) refuse(path, "a header that cannot be read");

  const std::optional<Header> header = HeaderParser(text).parse();
  if (!header) refuse(path, fmt::format("the header \"{}\"", printable(text)));
  if (header->descr != "<f4") refuse(path, fmt::format("values of type '{}'", printable(header->descr)));
  if (header->fortran_order) refuse(path, "Fortran order");
  const std::vector<std::uint64_t>& shape = header->shape;
  const std::size_t axes = shape.size();
  const bool usable =
      (axes == 3 || axes == 4) && shape[axes - 1] == kChannels &&
      std::ranges::all_of(shape, [](std::uint64_t size) { return size >= 1 && size <= kMaxSide; });
  if (!usable) {
    const bool large = std::ranges::any_of(shape, [](std::uint64_t size) { return size > kMaxSide; });
    const bool channels_first = !large && (axes == 3 || axes == 4) && shape[axes - 3] == kChannels;
    refuse(path, fmt::format("shape [{}]", printable(fmt::format("{}", fmt::join(shape, ", ")))),
           channels_first
               ? (axes == 3 ? kTransposeOne : kTransposeMany)
               : fmt::format("save an array of such a shape, with three channels last and no dimension "
                             "above {}",
                             with_thousands(kMaxSide)));
  }

  InitialImages images;
  images.count = axes == 4 ? static_cast<int>(shape[0]) : 1;
  images.extent = {static_cast<int>(shape[axes - 3]), static_cast<int>(shape[axes - 2])};
  // At most 2^15 * 2^15 * 2^15 * 3 * 4, so it cannot overflow.
  const std::uint64_t bytes =
      static_cast<std::uint64_t>(images.count) * values_of(images.extent) * sizeof(float);
  const std::uint64_t available = file_size - prefix - header_size;
  if (bytes != available)
    refuse(path, fmt::format("shape [{}], which takes {}, and {} after the header (damaged or cut off)",
                             fmt::join(shape, ", "), bytes_text(bytes), bytes_text(available)));
  if (bytes > kMaxBytes)
    throw Error(ErrorKind::input, fmt::format("--init {}: expected at most {} GiB of start images; found {}; "
                                              "render fewer filters at once",
                                              path.string(), kMaxBytes >> 30, bytes_text(bytes)));
  images.values.resize(bytes / sizeof(float));
  file.read(reinterpret_cast<char*>(images.values.data()), static_cast<std::streamsize>(bytes));
  if (!file) refuse(path, "values that cannot be read to the end");
  const auto bad = std::ranges::find_if_not(images.values, [](float value) { return std::isfinite(value); });
  if (bad != images.values.end())
    throw Error(
        ErrorKind::input,
        fmt::format("--init {}: expected finite values; found {} at value {} (counted from 0, in C order); "
                    "remove values that are infinite or not a number",
                    path.string(), *bad, bad - images.values.begin()));
  return images;
}

}  // namespace filterscope
