#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define FILTERSCOPE_HOST_DEVICE __host__ __device__
#else
#define FILTERSCOPE_HOST_DEVICE
#endif

/// Random numbers of the host and of kernels: the same bits for the same seed. Needs no CUDA.
namespace filterscope {

/// Philox 4x32-10, the counter-based generator of J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3" (SC 2011): four independent 32-bit words for each (counter, key).
class Philox {
 public:
  static constexpr int kWords = 4;

  struct Counter {
    std::uint32_t words[kWords];

    FILTERSCOPE_HOST_DEVICE constexpr std::uint32_t operator[](std::size_t i) const { return words[i]; }
    constexpr const std::uint32_t* begin() const { return words; }
    constexpr const std::uint32_t* end() const { return words + kWords; }
    auto operator<=>(const Counter&) const = default;
  };
  struct Key {
    std::uint32_t words[2];
  };

  FILTERSCOPE_HOST_DEVICE static constexpr Counter generate(Counter counter, Key key) {
    for (int round = 0; round < 10; ++round) {
      counter = {{high_product(0xCD9E8D57u, counter.words[2]) ^ counter.words[1] ^ key.words[0],
                  0xCD9E8D57u * counter.words[2],
                  high_product(0xD2511F53u, counter.words[0]) ^ counter.words[3] ^ key.words[1],
                  0xD2511F53u * counter.words[0]}};
      key.words[0] += 0x9E3779B9u;
      key.words[1] += 0xBB67AE85u;
    }
    return counter;
  }

 private:
  FILTERSCOPE_HOST_DEVICE static constexpr std::uint32_t high_product(std::uint32_t a, std::uint32_t b) {
#if defined(__CUDA_ARCH__)
    return __umulhi(a, b);
#else
    return static_cast<std::uint32_t>(std::uint64_t{a} * b >> 32);
#endif
  }
};

/// What a random number is drawn for; the last word of the counter, so that no two uses share numbers.
enum class RandomStream : std::uint32_t {
  initial_image = 0,
  selection = 1,
  synthetic_weights = 2,
  transforms = 3,
  kept_transforms = 4,
};

/// Block `index` of four words of the stream of one filter: key = seed, counter = (index, filter, layer,
/// stream).
FILTERSCOPE_HOST_DEVICE constexpr Philox::Counter random_block(std::uint64_t seed, RandomStream stream,
                                                               std::uint32_t layer, std::uint32_t filter,
                                                               std::uint32_t index) {
  return Philox::generate({{index, filter, layer, static_cast<std::uint32_t>(stream)}},
                          {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}});
}

/// Uniform in [0, 1), a multiple of 2^-24, exact in float.
FILTERSCOPE_HOST_DEVICE constexpr float to_unit_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace filterscope
