#include "host/output/apng.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "files.h"
#include "host/base/atomic_file.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Frames = std::vector<std::vector<std::uint8_t>>;

Frames noise(int count, Extent extent) {
  std::uint32_t state = 1;
  Frames frames(static_cast<std::size_t>(count));
  for (auto& frame : frames)
    for (std::int64_t i = 0; i < extent.positions() * 3; ++i)
      frame.push_back(static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24));
  return frames;
}

std::string text_of(const std::vector<std::uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

std::uint32_t number(const std::string& bytes, std::size_t at, int size = 4) {
  std::uint32_t value = 0;
  for (int i = 0; i < size; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes.at(at++));
  return value;
}

// The CRC of PNG, computed bit by bit as in ISO 3309.
std::uint32_t crc(const std::string& bytes) {
  std::uint32_t value = ~0u;
  for (const char byte : bytes) {
    value ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) * 0xedb88320u);
  }
  return ~value;
}

struct Chunk {
  std::string type;
  std::string data;
};

// Splits a file into chunks, and expects their lengths and CRCs to be right.
std::vector<Chunk> chunks_of(const std::string& file) {
  EXPECT_EQ(file.substr(0, 8), "\x89PNG\r\n\x1a\n");
  std::vector<Chunk> chunks;
  for (std::size_t at = 8; at < file.size();) {
    const std::uint32_t size = number(file, at);
    chunks.push_back({file.substr(at + 4, 4), file.substr(at + 8, size)});
    EXPECT_EQ(number(file, at + 8 + size), crc(file.substr(at + 4, 4 + size))) << chunks.back().type;
    at += 12 + size;
  }
  return chunks;
}

void append_chunk(std::string& file, const Chunk& chunk) {
  const auto append_number = [&](std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) file += static_cast<char>(value >> shift);
  };
  append_number(static_cast<std::uint32_t>(chunk.data.size()));
  file += chunk.type + chunk.data;
  append_number(crc(chunk.type + chunk.data));
}

TEST(Apng, FollowsTheStandard) {
  const TemporaryFolder folder;
  const Extent extent{5, 7};
  const Frames frames = noise(3, extent);
  const std::vector<Chunk> chunks = chunks_of(text_of(encode_apng(frames, extent)));
  std::vector<std::string> types;
  for (const Chunk& chunk : chunks) types.push_back(chunk.type);
  ASSERT_THAT(types, ElementsAre("IHDR", "acTL", "fcTL", "IDAT", "fcTL", "fdAT", "fcTL", "fdAT", "IEND"));
  EXPECT_EQ(number(chunks[0].data, 0), 7u);
  EXPECT_EQ(number(chunks[0].data, 4), 5u);
  EXPECT_EQ(number(chunks[1].data, 0), 3u);  // Frames.
  EXPECT_EQ(number(chunks[1].data, 4), 0u);  // Repeats forever.
  std::vector<std::uint32_t> sequence;
  std::size_t frame = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.type == "fcTL") {
      ASSERT_EQ(chunk.data.size(), 26u);
      EXPECT_EQ(number(chunk.data, 4), 7u);
      EXPECT_EQ(number(chunk.data, 8), 5u);
      EXPECT_EQ(number(chunk.data, 12), 0u);
      EXPECT_EQ(number(chunk.data, 16), 0u);
      EXPECT_EQ(number(chunk.data, 24, 2), 0u);
      const double seconds = double(number(chunk.data, 20, 2)) / number(chunk.data, 22, 2);
      EXPECT_DOUBLE_EQ(seconds, frame == 2 ? 2 : 0.4);
    }
    if (chunk.type == "fcTL" || chunk.type == "fdAT") sequence.push_back(number(chunk.data, 0));
    if (chunk.type != "IDAT" && chunk.type != "fdAT") continue;
    std::string png("\x89PNG\r\n\x1a\n");
    append_chunk(png, chunks[0]);
    append_chunk(png, {"IDAT", chunk.type == "fdAT" ? chunk.data.substr(4) : chunk.data});
    append_chunk(png, {"IEND", ""});
    write_text(folder / "frame.png", png);
    const RgbImage picture = decode_png(folder / "frame.png");
    EXPECT_EQ(picture.extent, extent);
    EXPECT_EQ(picture.pixels, frames[frame++]);
  }
  EXPECT_EQ(frame, 3u);
  EXPECT_THAT(sequence, ElementsAre(0, 1, 2, 3, 4));
}

TEST(Apng, TakesFourSecondsAndTwo) {
  const auto seconds = [](int count) {
    double sum = 0;
    for (const Chunk& chunk : chunks_of(text_of(encode_apng(noise(count, {1, 1}), {1, 1}))))
      if (chunk.type == "fcTL") sum += double(number(chunk.data, 20, 2)) / number(chunk.data, 22, 2);
    return sum;
  };
  EXPECT_NEAR(seconds(51), 6, 0.2);
  EXPECT_NEAR(seconds(1), 2, 1e-9);
  EXPECT_NEAR(seconds(501), 12, 1e-9);  // No browser shows more than fifty frames per second.
}

TEST(Apng, IsReadBackFrameByFrame) {
  const TemporaryFolder folder;
  for (const int count : {1, 2, 51}) {
    const Extent extent{31, 33};
    const Frames frames = noise(count, extent);
    write_file(folder / "a.apng", encode_apng(frames, extent));
    EXPECT_TRUE(is_whole_apng(folder / "a.apng", extent, count));
    EXPECT_EQ(read_apng(folder / "a.apng", extent, count), frames);
    EXPECT_EQ(decode_png(folder / "a.apng").pixels, frames.front());  // Viewers without APNG see this.
  }
}

TEST(Apng, DetectsFilesThatAreNotWhole) {
  const TemporaryFolder folder;
  const Extent extent{8, 9};
  const auto path = folder / "a.apng";
  write_file(path, encode_apng(noise(4, extent), extent));
  const std::string whole = read_text(path);
  EXPECT_FALSE(is_whole_apng(path, {9, 8}, 4));
  EXPECT_FALSE(is_whole_apng(path, extent, 3));
  EXPECT_THAT(read_apng(path, extent, 5), IsEmpty());
  for (const std::string& text : {std::string(), whole.substr(0, whole.size() - 1), whole.substr(0, 40)}) {
    write_text(path, text);
    EXPECT_FALSE(is_whole_apng(path, extent, 4));
    EXPECT_THAT(read_apng(path, extent, 4), IsEmpty());
  }
  std::filesystem::remove(path);
  EXPECT_FALSE(is_whole_apng(path, extent, 4));
  EXPECT_THAT(read_apng(path, extent, 4), IsEmpty());
  write_file(path, encode_png(noise(1, extent).front(), extent));
  EXPECT_FALSE(is_whole_apng(path, extent, 1));
  // Damage that is_whole_apng() does not see.
  for (std::size_t at = 60; at < whole.size() - 12; at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write_text(path, damaged);
    EXPECT_THAT(read_apng(path, extent, 4), IsEmpty()) << at;
  }
}

TEST(Apng, RejectsNoFramesAndOtherExtents) {
  EXPECT_THROW(encode_apng({}, {1, 1}), std::invalid_argument);
  Frames frames = noise(2, {2, 2});
  frames.back().pop_back();
  EXPECT_THROW(encode_apng(frames, {2, 2}), std::invalid_argument);
}

}  // namespace
}  // namespace filterscope
