#include "start.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/common/philox.h"

namespace filterscope {

namespace {

Philox::Counter block(std::uint64_t seed, FilterId id, std::size_t index) {
  return random_block(seed, RandomStream::initial_image, static_cast<std::uint32_t>(id.layer),
                      static_cast<std::uint32_t>(id.filter), static_cast<std::uint32_t>(index));
}

}  // namespace

void draw_start(const Start& start, std::uint64_t seed, FilterId id, std::span<float> values) {
  switch (start.kind) {
    case Start::Kind::constant:
      std::ranges::fill(values, start.value);
      return;
    case Start::Kind::uniform: {
      const float range = start.high - start.low;
      for (std::size_t i = 0; i < values.size(); i += 4) {
        const Philox::Counter words = block(seed, id, i / 4);
        for (std::size_t word = 0; word < std::min<std::size_t>(4, values.size() - i); ++word)
          values[i + word] = start.low + range * to_unit_float(words[word]);
      }
      return;
    }
    case Start::Kind::gaussian:
      break;
  }
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const Philox::Counter words = block(seed, id, i / 4);
    for (std::size_t pair = 0; pair < 4 && i + pair < values.size(); pair += 2) {
      const float u = to_unit_float(words[pair]) + 0x1p-24f;  // Its logarithm is finite.
      const float angle = 2 * std::numbers::pi_v<float> * to_unit_float(words[pair + 1]);
      const float radius = start.deviation * std::sqrt(-2 * std::log(u));
      values[i + pair] = start.mean + radius * std::cos(angle);
      if (i + pair + 1 < values.size()) values[i + pair + 1] = start.mean + radius * std::sin(angle);
    }
  }
}

}  // namespace filterscope
