#pragma once

#include <array>
#include <cstdint>

namespace filterscope {

/// Philox 4x32-10, the counter-based generator of J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3" (SC 2011): four independent 32-bit words for each (counter, key).
class Philox {
 public:
  using Counter = std::array<std::uint32_t, 4>;
  using Key = std::array<std::uint32_t, 2>;

  static constexpr Counter generate(Counter counter, Key key) {
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
      counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
                 static_cast<std::uint32_t>(product1),
                 static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
                 static_cast<std::uint32_t>(product0)};
      key[0] += 0x9E3779B9u;
      key[1] += 0xBB67AE85u;
    }
    return counter;
  }
};

/// What a random number is drawn for; the last word of the counter, so that no two uses share numbers.
enum class RandomStream : std::uint32_t { initial_image = 0, selection = 1, synthetic_weights = 2 };

/// Block `index` of four words of the stream of one filter: key = seed, counter = (index, filter, layer,
/// stream).
constexpr Philox::Counter random_block(std::uint64_t seed, RandomStream stream, std::uint32_t layer,
                                       std::uint32_t filter, std::uint32_t index) {
  return Philox::generate({index, filter, layer, static_cast<std::uint32_t>(stream)},
                          {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

/// Uniform in [0, 1), a multiple of 2^-24, exact in float.
constexpr float to_unit_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace filterscope
