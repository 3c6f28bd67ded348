#include "apng.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "../base/input_file.h"
#include "png.h"

namespace filterscope {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kSignatureBytes = 8;
constexpr std::size_t kHeaderBytes = 8 + 13 + 4;  // The chunk IHDR.
constexpr std::size_t kAroundData = 8 + 4;        // Length and type before a chunk's data, CRC after it.

// Milliseconds. Browsers show frames of less than 20 for 100.
constexpr int kAnimation = 4000;
constexpr int kShortestFrame = 20;
constexpr int kLongestFrame = 400;
constexpr int kLastFrame = 2000;

/// The CRC-32 of PNG's section 5.5 for each byte.
constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xedb88320u ^ value >> 1 : value >> 1;
    table[byte] = value;
  }
  return table;
}();

std::uint32_t crc_of(std::span<const std::uint8_t> bytes) {
  std::uint32_t value = 0xffffffffu;
  for (const std::uint8_t byte : bytes) value = kCrcTable[(value ^ byte) & 0xff] ^ value >> 8;
  return ~value;
}

void append_number(Bytes& to, std::uint32_t value, int bytes = 4) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    to.push_back(static_cast<std::uint8_t>(value >> shift));
}

std::uint32_t number_at(std::span<const std::uint8_t> bytes) {
  return std::uint32_t{bytes[0]} << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

void append(Bytes& to, std::span<const std::uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_chunk(Bytes& file, std::string_view type, std::span<const std::uint8_t> data) {
  append_number(file, static_cast<std::uint32_t>(data.size()));
  const std::size_t checked = file.size();
  file.insert(file.end(), type.begin(), type.end());
  append(file, data);
  append_number(file, crc_of(std::span(file).subspan(checked)));
}

struct Chunk {
  std::string_view type;
  std::span<const std::uint8_t> data;
};

/// Takes the first chunk off `bytes`; throws std::invalid_argument if it is cut off or its CRC is wrong.
Chunk take_chunk(std::span<const std::uint8_t>& bytes) {
  if (bytes.size() < kAroundData) throw std::invalid_argument("a chunk is cut off");
  const std::uint32_t size = number_at(bytes);
  if (size > bytes.size() - kAroundData) throw std::invalid_argument("a chunk is cut off");
  const auto checked = bytes.subspan(4, 4 + size);
  if (crc_of(checked) != number_at(bytes.subspan(8 + size))) throw std::invalid_argument("a CRC is wrong");
  bytes = bytes.subspan(kAroundData + size);
  return {{reinterpret_cast<const char*>(checked.data()), 4}, checked.subspan(4)};
}

Bytes animation_control(int frames) {
  Bytes data;
  append_number(data, static_cast<std::uint32_t>(frames));
  append_number(data, 0);  // Repeat forever.
  return data;
}

/// The start of an animation: everything before the frames.
Bytes beginning(std::span<const std::uint8_t> png, int frames) {
  Bytes file(png.begin(), png.begin() + kSignatureBytes + kHeaderBytes);
  append_chunk(file, "acTL", animation_control(frames));
  return file;
}

Bytes frame_control(std::uint32_t sequence, Extent extent, int milliseconds) {
  Bytes data;
  append_number(data, sequence);
  append_number(data, static_cast<std::uint32_t>(extent.width));
  append_number(data, static_cast<std::uint32_t>(extent.height));
  append_number(data, 0);  // Offsets.
  append_number(data, 0);
  append_number(data, static_cast<std::uint32_t>(milliseconds), 2);
  append_number(data, 1000, 2);  // Denominator: the unit is a millisecond.
  data.push_back(0);             // APNG_DISPOSE_OP_NONE
  data.push_back(0);             // APNG_BLEND_OP_SOURCE
  return data;
}

/// The image data of each frame in a file of encode_apng(), without sequence numbers.
std::vector<Bytes> image_data(std::span<const std::uint8_t> chunks) {
  std::vector<Bytes> frames;
  while (!chunks.empty()) {
    const Chunk chunk = take_chunk(chunks);
    if (chunk.type == "IDAT") frames.emplace_back(chunk.data.begin(), chunk.data.end());
    if (chunk.type == "fdAT") {
      if (chunk.data.size() < 4) throw std::invalid_argument("a frame is cut off");
      frames.emplace_back(chunk.data.begin() + 4, chunk.data.end());
    }
  }
  return frames;
}

}  // namespace

Bytes encode_apng(std::span<const Bytes> frames, Extent extent) {
  if (frames.empty()) throw std::invalid_argument("encode_apng: no frames");
  const int count = static_cast<int>(frames.size());
  const int milliseconds = std::clamp(kAnimation / count, kShortestFrame, kLongestFrame);
  Bytes file;
  std::uint32_t sequence = 0;
  for (const Bytes& frame : frames) {
    const Bytes png = encode_png(frame, extent);
    if (file.empty()) file = beginning(png, count);
    const bool last = &frame == &frames.back();
    append_chunk(file, "fcTL", frame_control(sequence++, extent, last ? kLastFrame : milliseconds));
    std::span<const std::uint8_t> chunks = std::span(png).subspan(kSignatureBytes + kHeaderBytes);
    for (const Bytes& data : image_data(chunks)) {
      if (&frame == &frames.front()) {
        append_chunk(file, "IDAT", data);
      } else {
        Bytes numbered;
        append_number(numbered, sequence++);
        append(numbered, data);
        append_chunk(file, "fdAT", numbered);
      }
    }
  }
  append_chunk(file, "IEND", {});
  return file;
}

std::vector<Bytes> read_apng(const std::filesystem::path& path, Extent extent, int frames) {
  if (!is_whole_apng(path, extent, frames)) return {};
  const Bytes file = read_result_file(path);
  if (file.size() < kSignatureBytes + kHeaderBytes) return {};
  const auto header = std::span(file).first(kSignatureBytes + kHeaderBytes);
  std::vector<Bytes> pictures;
  try {
    for (const Bytes& data : image_data(std::span(file).subspan(kSignatureBytes))) {
      Bytes png(header.begin(), header.end());
      append_chunk(png, "IDAT", data);
      append_chunk(png, "IEND", {});
      std::optional<RgbImage> picture = decode_png(png);
      if (!picture) return {};
      pictures.push_back(std::move(picture->pixels));
    }
  } catch (const std::invalid_argument&) {
    return {};
  }
  if (std::ssize(pictures) != frames) return {};
  return pictures;
}

bool is_whole_apng(const std::filesystem::path& path, Extent extent, int frames) {
  if (!is_whole_png(path, extent)) return false;
  Bytes control;
  append_chunk(control, "acTL", animation_control(frames));
  Bytes found(control.size());
  std::ifstream file = open_result(path);
  file.seekg(kSignatureBytes + kHeaderBytes);
  file.read(reinterpret_cast<char*>(found.data()), static_cast<std::streamsize>(found.size()));
  return file && found == control;
}

}  // namespace filterscope
