#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.h"
#include "host/model/weights/formats.h"
#include "host/model/weights/weights.h"
#include "kernels/common/philox.h"
#include "tests/support/temporary_folder.h"

// Random damage to small weight files. Whatever the bytes, loading ends with whole, finite weights or with an
// Error. The damage is the same in every run; FILTERSCOPE_FUZZ_ROUNDS and FILTERSCOPE_FUZZ_SEED change it.

namespace filterscope {
namespace {

namespace fs = std::filesystem;

std::uint64_t setting(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

class Random {
 public:
  Random(std::uint64_t seed, std::uint32_t round) : seed_(seed), round_(round) {}
  std::uint32_t word() { return random_block(seed_, RandomStream::selection, 0xF022, round_, index_++)[0]; }
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : word() % bound; }

 private:
  std::uint64_t seed_;
  std::uint32_t round_;
  std::uint32_t index_ = 0;
};

/// Values at which code that handles lengths and offsets tends to fail.
constexpr std::array<std::uint64_t, 14> kAttacks{0,          1,          2,          0x7F,       0x80,
                                                 0xFF,       0x7FFF,     0xFFFF,     0x7FFFFFFF, 0x80000000,
                                                 0xFFFFFFFF, 1ULL << 40, 1ULL << 62, ~0ULL};

void damage(std::string& bytes, Random& random) {
  enum Kind { kFlipBits, kSetByte, kTruncate, kOverwrite, kCopy, kNumber, kNudge, kErase, kKinds };
  const std::size_t hits = 1 + random.below(4);
  for (std::size_t hit = 0; hit < hits && !bytes.empty(); ++hit) {
    // Most of a file's structure is close to its start.
    const std::size_t at =
        random.below(random.below(2) == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 1200));
    const std::size_t length = std::min(bytes.size() - at, 1 + random.below(64));
    const std::size_t width = std::min<std::size_t>(bytes.size() - at, std::size_t{1} << random.below(4));
    switch (random.below(kKinds)) {
      case kFlipBits:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case kSetByte:
        bytes[at] = static_cast<char>(random.word());
        break;
      case kTruncate:
        if (random.below(4) == 0) bytes.resize(at);
        break;
      case kOverwrite:
        for (std::size_t i = 0; i < length; ++i) bytes[at + i] = static_cast<char>(random.word());
        break;
      case kCopy:
        std::memmove(bytes.data() + at, bytes.data() + random.below(bytes.size() - length + 1), length);
        break;
      case kNumber: {
        const std::uint64_t number = kAttacks[random.below(kAttacks.size())];
        std::memcpy(bytes.data() + at, &number, width);
        break;
      }
      case kNudge: {
        std::uint64_t number = 0;
        std::memcpy(&number, bytes.data() + at, width);
        number += random.below(2) == 0 ? 1 + random.below(8) : -std::uint64_t{1} - random.below(8);
        std::memcpy(bytes.data() + at, &number, width);
        break;
      }
      default:
        bytes.erase(at, length);
        break;
    }
  }
}

/// Writes in place: file systems write a truncated file through to the disk, which is slow.
void overwrite(const fs::path& path, const std::string& bytes) {
  {
    std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
    if (!stream) stream.open(path, std::ios::binary | std::ios::out);
    stream << bytes;
  }
  fs::resize_file(path, bytes.size());
}

/// Like load_weights(), but gives up sooner on a child that loops.
weights_formats::Layers load(const fs::path& path, const std::string& bytes, const Network& network) {
  constexpr std::string_view kHdf5 = "\x89HDF\r\n\x1a\n";
  if (!bytes.starts_with(kHdf5)) return load_weights(path, network).layers;
  return weights_formats::read_keras_hdf5(path, network, {.processor_seconds = 1}).layers;
}

class WeightsFuzz : public testing::TestWithParam<const char*> {};

TEST_P(WeightsFuzz, EndsWithWeightsOrAnError) {
  const Network network{
      .name = "tiny",
      .convolutions = {
          {"block1_conv1", 3, 4, false}, {"block1_conv2", 4, 5, true}, {"block2_conv1", 5, 2, false}}};
  const std::string name = GetParam();
  // HDF5 gets fewer rounds, since each starts a process.
  const std::uint64_t rounds = setting("FILTERSCOPE_FUZZ_ROUNDS", name.ends_with(".h5") ? 300 : 3000);
  const std::uint64_t seed = setting("FILTERSCOPE_FUZZ_SEED", 0);
  const TemporaryFolder folder;
  std::string good;
  {
    std::ifstream stream(fs::path(FILTERSCOPE_TEST_DATA) / "weights" / name, std::ios::binary);
    good.assign(std::istreambuf_iterator<char>(stream), {});
  }
  ASSERT_FALSE(good.empty());
  const fs::path path = folder.path() / name;
  std::uint64_t loaded = 0;
  std::uint64_t refused = 0;
  std::uint64_t lost = 0;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    Random random(seed, round);
    std::string bytes = good;
    damage(bytes, random);
    overwrite(path, bytes);
    SCOPED_TRACE(fmt::format("round {}", round));
    try {
      const weights_formats::Layers layers = load(path, bytes, network);
      ++loaded;
      bool any = false;
      ASSERT_EQ(layers.size(), network.convolutions.size());
      for (int layer = 0; layer < network.layer_count(); ++layer) {
        if (!layers[layer]) continue;
        any = true;
        const Convolution& convolution = network.convolutions[layer];
        ASSERT_EQ(layers[layer]->bias.size(), static_cast<std::size_t>(convolution.out_channels));
        ASSERT_EQ(layers[layer]->kernel.size() + layers[layer]->bias.size(),
                  static_cast<std::size_t>(convolution.parameters()));
        for (const float value : layers[layer]->kernel) ASSERT_TRUE(std::isfinite(value));
        for (const float value : layers[layer]->bias) ASSERT_TRUE(std::isfinite(value));
      }
      ASSERT_TRUE(any);
    } catch (const Error& error) {
      ++refused;
      const std::string message = error.what();
      ASSERT_EQ(error.kind(), ErrorKind::input);
      ASSERT_NE(message.find(name), std::string::npos) << message;
      if (message.find("the reader ") != std::string::npos) {
        ++lost;
        if (std::getenv("FILTERSCOPE_FUZZ_KEEP") != nullptr) {
          std::cout << message << '\n';
          fs::copy_file(
              path,
              fs::path(std::getenv("FILTERSCOPE_FUZZ_KEEP")) / fmt::format("{}-{}-{}", seed, round, name),
              fs::copy_options::overwrite_existing);
        }
      }
    }
  }
  std::cout << fmt::format("{} rounds: {} loaded, {} refused, {} of them by the end of the child\n", rounds,
                           loaded, refused, lost);
  // If damage were always or never noticed, this would test nothing.
  if (rounds >= 300) {
    EXPECT_GT(loaded, 0u);
    EXPECT_GT(refused, rounds / 10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, WeightsFuzz,
                         testing::Values("keras1_fixed.h5", "keras1_variable.h5", "keras1_latest.h5",
                                         "keras1_compressed.h5", "keras2_model.h5", "keras3_named.weights.h5",
                                         "f32.safetensors", "f16.safetensors", "bf16.safetensors"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace filterscope
