#include "transforms.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/common/philox.h"

namespace filterscope {

namespace {

constexpr int kDrawsPerIteration = 16;  // Room for as many transforms.

float draw(const Draw& from, std::uint32_t word) {
  if (from.choices.empty()) return from.low + (from.high - from.low) * to_unit_float(word);
  return from.choices[std::uint64_t{word} * from.choices.size() >> 32];
}

// Uniform in -count / 2 .. (count - 1) / 2.
float shift(int count, std::uint32_t word) {
  return static_cast<float>(static_cast<int>(std::uint64_t{word} * static_cast<std::uint64_t>(count) >> 32) -
                            count / 2);
}

// What the transform shows at a position of its output is its input at matrix * position + shift.
AffineMap inverse_of(const Transform& transform, const Philox::Counter& words) {
  AffineMap map;
  switch (transform.kind) {
    case Transform::Kind::pad:
    case Transform::Kind::crop:
      break;
    case Transform::Kind::jitter:
      map.shift[0] = -shift(transform.pixels, words[0]);
      map.shift[1] = -shift(transform.pixels, words[1]);
      break;
    case Transform::Kind::scale: {
      const float factor = 1.f / draw(transform.draw, words[0]);
      map.matrix[0][0] = map.matrix[1][1] = factor;
      break;
    }
    case Transform::Kind::rotate: {
      // y points down, so that a position turns the other way than its content is displayed to.
      const float angle = draw(transform.draw, words[0]) * (std::numbers::pi_v<float> / 180.f);
      map.matrix[0][0] = map.matrix[1][1] = std::cos(angle);
      map.matrix[0][1] = std::sin(angle);
      map.matrix[1][0] = -std::sin(angle);
      break;
    }
    case Transform::Kind::flip:
      if (words[0] >> 31 != 0) map.matrix[1][1] = -1;
      break;
  }
  return map;
}

// outer(inner(position)).
AffineMap composed(const AffineMap& outer, const AffineMap& inner) {
  AffineMap map;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j)
      map.matrix[i][j] = outer.matrix[i][0] * inner.matrix[0][j] + outer.matrix[i][1] * inner.matrix[1][j];
    map.shift[i] = outer.matrix[i][0] * inner.shift[0] + outer.matrix[i][1] * inner.shift[1] + outer.shift[i];
  }
  return map;
}

Philox::Counter words_of(RandomStream stream, std::uint64_t seed, FilterId id, int iteration,
                         std::size_t number) {
  return random_block(
      seed, stream, static_cast<std::uint32_t>(id.layer), static_cast<std::uint32_t>(id.filter),
      static_cast<std::uint32_t>(iteration) * kDrawsPerIteration + static_cast<std::uint32_t>(number));
}

// The pixel of an image of `size` that stands for coordinate `at`, which may lie outside; -1: none.
int pixel(Border border, int at, int size) {
  if (at >= 0 && at < size) return at;
  switch (border) {
    case Border::constant:
      return -1;
    case Border::edge:
      return std::clamp(at, 0, size - 1);
    case Border::reflect: {
      const int period = ((at % (2 * size)) + 2 * size) % (2 * size);
      return period < size ? period : 2 * size - 1 - period;
    }
    case Border::wrap:
      break;
  }
  return ((at % size) + size) % size;
}

// std::floor() is a call of a function on processors before SSE4.1, for which this is compiled.
int floor_of(float value) {
  const int truncated = static_cast<int>(value);
  return truncated - (value < static_cast<float>(truncated) ? 1 : 0);
}

// A position of the canvas in the image, split into the pixel above and left of it and the distance to that.
struct Place {
  int y;
  int x;
  float down;
  float right;

  // Whether all four pixels around it are the image's.
  bool inside(Extent image) const { return y >= 0 && y + 1 < image.height && x >= 0 && x + 1 < image.width; }
  std::size_t index(Extent image) const { return (static_cast<std::size_t>(y) * image.width + x) * 3; }
};
class Placement {
 public:
  Placement(const AffineMap& map, Extent image, Extent canvas)
      : map_(map),
        canvas_y_(0.5f * static_cast<float>(canvas.height - 1)),
        canvas_x_(0.5f * static_cast<float>(canvas.width - 1)),
        image_y_(0.5f * static_cast<float>(image.height - 1)),
        image_x_(0.5f * static_cast<float>(image.width - 1)) {}

  Place operator()(int y, int x) const {
    const float v = static_cast<float>(y) - canvas_y_;
    const float u = static_cast<float>(x) - canvas_x_;
    const float at_y = map_.matrix[0][0] * v + map_.matrix[0][1] * u + map_.shift[0] + image_y_;
    const float at_x = map_.matrix[1][0] * v + map_.matrix[1][1] * u + map_.shift[1] + image_x_;
    const int above = floor_of(at_y);
    const int left = floor_of(at_x);
    return {above, left, at_y - static_cast<float>(above), at_x - static_cast<float>(left)};
  }

 private:
  AffineMap map_;
  float canvas_y_, canvas_x_, image_y_, image_x_;
};

}  // namespace

AffineMap draw_map(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration) {
  AffineMap map;
  if (iteration == 0) return map;
  // From the canvas back to the image, the last transform is undone first.
  for (std::size_t i = 0; i < transforms.list.size(); ++i) {
    const Philox::Counter words = words_of(RandomStream::transforms, seed, id, iteration, i);
    map = composed(map, inverse_of(transforms.list[i], words));
  }
  return map;
}

void warp(const AffineMap& map, Border border, float value, std::span<const float> image, Extent image_extent,
          std::span<float> canvas, Extent canvas_extent) {
  const Placement placement(map, image_extent, canvas_extent);
  const std::size_t row_size = static_cast<std::size_t>(image_extent.width) * 3;
  float* to = canvas.data();
  for (int y = 0; y < canvas_extent.height; ++y) {
    for (int x = 0; x < canvas_extent.width; ++x, to += 3) {
      const Place place = placement(y, x);
      const float weights[2][2] = {{(1 - place.down) * (1 - place.right), (1 - place.down) * place.right},
                                   {place.down * (1 - place.right), place.down * place.right}};
      if (place.inside(image_extent)) {
        const float* const above = image.data() + place.index(image_extent);
        const float* const below = above + row_size;
        for (int c = 0; c < 3; ++c) {
          to[c] = weights[0][0] * above[c] + weights[0][1] * above[3 + c] + weights[1][0] * below[c] +
                  weights[1][1] * below[3 + c];
        }
        continue;
      }
      float sums[3] = {0, 0, 0};
      for (int i = 0; i < 2; ++i) {
        const int row = pixel(border, place.y + i, image_extent.height);
        for (int j = 0; j < 2; ++j) {
          const int column = pixel(border, place.x + j, image_extent.width);
          const float weight = weights[i][j];
          // What counts nothing is not read: it may not be finite.
          if (weight == 0.f) continue;
          const float* const from =
              row < 0 || column < 0
                  ? nullptr
                  : image.data() + (static_cast<std::size_t>(row) * image_extent.width + column) * 3;
          for (int c = 0; c < 3; ++c) sums[c] += weight * (from == nullptr ? value : from[c]);
        }
      }
      for (int c = 0; c < 3; ++c) to[c] = sums[c];
    }
  }
}

void warp_adjoint(const AffineMap& map, std::span<const float> canvas_gradient, Extent canvas_extent,
                  std::span<float> image_gradient, Extent image_extent) {
  const Placement placement(map, image_extent, canvas_extent);
  const std::size_t row_size = static_cast<std::size_t>(image_extent.width) * 3;
  std::ranges::fill(image_gradient, 0.f);
  const float* from = canvas_gradient.data();
  for (int y = 0; y < canvas_extent.height; ++y) {
    for (int x = 0; x < canvas_extent.width; ++x, from += 3) {
      const Place place = placement(y, x);
      if (place.inside(image_extent)) {
        float* const above = image_gradient.data() + place.index(image_extent);
        float* const below = above + row_size;
        for (int c = 0; c < 3; ++c) {
          above[c] += (1 - place.down) * (1 - place.right) * from[c];
          above[3 + c] += (1 - place.down) * place.right * from[c];
          below[c] += place.down * (1 - place.right) * from[c];
          below[3 + c] += place.down * place.right * from[c];
        }
        continue;
      }
      for (int i = 0; i < 2; ++i) {
        const int row = place.y + i;
        if (row < 0 || row >= image_extent.height) continue;
        for (int j = 0; j < 2; ++j) {
          const int column = place.x + j;
          if (column < 0 || column >= image_extent.width) continue;
          const float weight =
              (i == 0 ? 1 - place.down : place.down) * (j == 0 ? 1 - place.right : place.right);
          float* const to =
              image_gradient.data() + (static_cast<std::size_t>(row) * image_extent.width + column) * 3;
          for (int c = 0; c < 3; ++c) to[c] += weight * from[c];
        }
      }
    }
  }
}

void apply_kept_transforms(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration,
                           Extent extent, std::span<float> image, std::span<float> scratch) {
  for (std::size_t i = 0; i < transforms.list.size(); ++i) {
    const Transform& transform = transforms.list[i];
    const AffineMap map =
        inverse_of(transform, words_of(RandomStream::kept_transforms, seed, id, iteration, i));
    warp(map, transform.border.value_or(transforms.border), transforms.value, image, extent, scratch, extent);
    std::ranges::copy(scratch, image.begin());
  }
}

}  // namespace filterscope
