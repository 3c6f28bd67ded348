#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "kernels/common/philox.h"
#include "operations.h"

namespace filterscope::reference {

namespace {

int outside(Border border, int index, int size) {
  switch (border) {
    case Border::constant:
      return index >= 0 && index < size ? index : -1;
    case Border::edge:
      return std::min(std::max(index, 0), size - 1);
    case Border::reflect:
      while (index < 0 || index >= size) index = index < 0 ? -1 - index : 2 * size - 1 - index;
      return index;
    case Border::wrap:
      while (index < 0) index += size;
      while (index >= size) index -= size;
      return index;
  }
  return -1;
}

// Calls use(row, column, weight) for the four pixels that a canvas position is sampled from.
template <class Use>
void for_samples(const AffineMap& map, Extent image, Extent canvas, int y, int x, const Use& use) {
  const double v = y - 0.5 * (canvas.height - 1);
  const double u = x - 0.5 * (canvas.width - 1);
  const double at_y =
      double{map.matrix[0][0]} * v + double{map.matrix[0][1]} * u + map.shift[0] + 0.5 * (image.height - 1);
  const double at_x =
      double{map.matrix[1][0]} * v + double{map.matrix[1][1]} * u + map.shift[1] + 0.5 * (image.width - 1);
  const int top = static_cast<int>(std::floor(at_y));
  const int left = static_cast<int>(std::floor(at_x));
  for (int row : {top, top + 1}) {
    for (int column : {left, left + 1}) {
      const double weight = (1 - std::abs(at_y - row)) * (1 - std::abs(at_x - column));
      use(row, column, weight);
    }
  }
}

using Point = std::array<double, 2>;

// The input position, from the centre, that a transform shows at `point`.
Point undone(const Transform& transform, const Philox::Counter& words, Point point) {
  // The number of one of `count` equally likely cases.
  const auto drawn_of = [&](std::size_t count, int word) {
    return std::floor(words[word] * static_cast<double>(count) / 0x1p32);
  };
  const auto drawn = [&]() -> double {
    const Draw& from = transform.draw;
    if (from.choices.empty())
      return from.low + (double{from.high} - from.low) * double{to_unit_float(words[0])};
    return from.choices[static_cast<std::size_t>(drawn_of(from.choices.size(), 0))];
  };
  const auto [y, x] = point;
  switch (transform.kind) {
    case Transform::Kind::pad:
    case Transform::Kind::crop:
      break;
    case Transform::Kind::jitter: {
      const int count = transform.pixels;
      return {y - (drawn_of(count, 0) - count / 2), x - (drawn_of(count, 1) - count / 2)};
    }
    case Transform::Kind::scale:
      return {y / drawn(), x / drawn()};
    case Transform::Kind::rotate: {
      // Upwards is -y: what lies at angle a in the output lay at a - drawn in the input.
      const double angle = std::atan2(-y, x) - drawn() * std::numbers::pi / 180;
      const double radius = std::hypot(y, x);
      return {-radius * std::sin(angle), radius * std::cos(angle)};
    }
    case Transform::Kind::flip:
      return {y, drawn_of(2, 0) == 1 ? -x : x};
  }
  return point;
}

// The map that shows undo(position) at each position.
template <class Undo>
AffineMap map_of(const Undo& undo) {
  const Point centre = undo(Point{0, 0});
  AffineMap map;
  for (int axis = 0; axis < 2; ++axis) {
    const Point moved = undo(Point{axis == 0 ? 1. : 0., axis == 1 ? 1. : 0.});
    for (int i = 0; i < 2; ++i) map.matrix[i][axis] = static_cast<float>(moved[i] - centre[i]);
  }
  for (int i = 0; i < 2; ++i) map.shift[i] = static_cast<float>(centre[i]);
  return map;
}

Philox::Counter words_of(RandomStream stream, std::uint64_t seed, FilterId id, int iteration,
                         std::size_t number) {
  return random_block(seed, stream, static_cast<std::uint32_t>(id.layer),
                      static_cast<std::uint32_t>(id.filter),
                      static_cast<std::uint32_t>(iteration * 16 + static_cast<int>(number)));
}

double kernel(Resampling::Kind kind, double x) {
  x = std::abs(x);
  if (kind == Resampling::Kind::bilinear) return x < 1 ? 1 - x : 0;
  if (x < 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
  return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

double mean_of(const Values& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double deviation_of(const Values& values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// The weights of all elements of a dimension in element `i` of `to`.
Values weights_of(Resampling::Kind kind, int from, int to, int i) {
  const double scale = static_cast<double>(from) / to;
  Values weights;
  double all = 0;
  for (int j = 0; j < from; ++j) {
    weights.push_back(kernel(kind, (j + 0.5 - (i + 0.5) * scale) / std::max(scale, 1.)));
    all += weights.back();
  }
  for (double& weight : weights) weight /= all;
  return weights;
}

// Pillow's sum of bytes, in whole numbers with 22 bits after the point.
double byte_sum(const Values& weights, auto&& byte) {
  std::int64_t sum = 1 << 21;
  for (std::size_t i = 0; i < weights.size(); ++i)
    sum += std::llround(weights[i] * (1 << 22)) * static_cast<std::int64_t>(byte(static_cast<int>(i)));
  return static_cast<double>(std::clamp<std::int64_t>(sum >> 22, 0, 255));
}

// Along rows, then along columns.
Map resample_bytes(Resampling::Kind kind, const Map& bytes, Extent extent) {
  Map wide({bytes.height, extent.width}, 3);
  for (int x = 0; x < extent.width; ++x) {
    const Values weights = weights_of(kind, bytes.width, extent.width, x);
    for (int y = 0; y < bytes.height; ++y)
      for (int c = 0; c < 3; ++c)
        wide.at(y, x, c) = byte_sum(weights, [&](int from) { return bytes.at(y, from, c); });
  }
  Map result(extent, 3);
  for (int y = 0; y < extent.height; ++y) {
    const Values weights = weights_of(kind, bytes.height, extent.height, y);
    for (int x = 0; x < extent.width; ++x)
      for (int c = 0; c < 3; ++c)
        result.at(y, x, c) = byte_sum(weights, [&](int from) { return wide.at(from, x, c); });
  }
  return result;
}

}  // namespace

AffineMap draw_map(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration) {
  if (iteration == 0) return {};
  return map_of([&](Point point) {
    for (std::size_t i = transforms.list.size(); i-- > 0;)
      point = undone(transforms.list[i], words_of(RandomStream::transforms, seed, id, iteration, i), point);
    return point;
  });
}

Map keep_transforms(const Transforms& transforms, std::uint64_t seed, FilterId id, int iteration,
                    const Map& image) {
  Map kept = image;
  for (std::size_t i = 0; i < transforms.list.size(); ++i) {
    const Transform& transform = transforms.list[i];
    const Philox::Counter words = words_of(RandomStream::kept_transforms, seed, id, iteration, i);
    const AffineMap map = map_of([&](Point point) { return undone(transform, words, point); });
    kept = warp(map, transform.border.value_or(transforms.border), transforms.value, kept, image.extent());
  }
  return kept;
}

Map warp(const AffineMap& map, Border border, double value, const Map& image, Extent canvas) {
  Map result(canvas, 3);
  for (int y = 0; y < canvas.height; ++y) {
    for (int x = 0; x < canvas.width; ++x) {
      for_samples(map, image.extent(), canvas, y, x, [&](int row, int column, double weight) {
        row = outside(border, row, image.height);
        column = outside(border, column, image.width);
        for (int c = 0; c < 3; ++c)
          result.at(y, x, c) += weight * (row < 0 || column < 0 ? value : image.at(row, column, c));
      });
    }
  }
  return result;
}

Map warp_adjoint(const AffineMap& map, const Map& canvas_gradient, Extent image) {
  Map result(image, 3);
  const Extent canvas = canvas_gradient.extent();
  for (int y = 0; y < canvas.height; ++y) {
    for (int x = 0; x < canvas.width; ++x) {
      for_samples(map, image, canvas, y, x, [&](int row, int column, double weight) {
        if (row < 0 || row >= image.height || column < 0 || column >= image.width) return;
        for (int c = 0; c < 3; ++c) result.at(row, column, c) += weight * canvas_gradient.at(y, x, c);
      });
    }
  }
  return result;
}

Map resample(Resampling::Kind kind, const Map& image, Extent extent) {
  Map result(extent, 3);
  const double scale_y = static_cast<double>(image.height) / extent.height;
  const double scale_x = static_cast<double>(image.width) / extent.width;
  const double wide_y = std::max(scale_y, 1.);
  const double wide_x = std::max(scale_x, 1.);
  for (int y = 0; y < extent.height; ++y) {
    for (int x = 0; x < extent.width; ++x) {
      double all = 0;
      for (int row = 0; row < image.height; ++row) {
        const double vertical = kernel(kind, (row + 0.5 - (y + 0.5) * scale_y) / wide_y);
        if (vertical == 0) continue;
        for (int column = 0; column < image.width; ++column) {
          const double weight = vertical * kernel(kind, (column + 0.5 - (x + 0.5) * scale_x) / wide_x);
          all += weight;
          for (int c = 0; c < 3; ++c) result.at(y, x, c) += weight * image.at(row, column, c);
        }
      }
      for (int c = 0; c < 3; ++c) result.at(y, x, c) /= all;
    }
  }
  return result;
}

Values picture_values(const Picture& picture, const Map& image) {
  const auto [lowest, highest] = std::ranges::minmax(image.values);
  double offset = lowest;
  double scale = highest > lowest ? 1 / (highest - lowest) : 0;
  double centre = 0;
  if (picture.kind == Picture::Kind::standardise) {
    offset = mean_of(image.values);
    scale = picture.deviation / (deviation_of(image.values) + picture.epsilon);
    centre = picture.centre;
  } else if (picture.kind == Picture::Kind::clip) {
    offset = picture.low;
    scale = 1 / (double{picture.high} - picture.low);
  }
  Values values;
  for (const double value : image.values)
    values.push_back(255 * std::min(std::max((value - offset) * scale + centre, 0.), 1.));
  return values;
}

Map resample(const Resampling& resampling, const Picture& picture, const Map& image, Extent extent) {
  Map result;
  if (!resampling.through_picture) {
    result = resample(resampling.kind, image, extent);
  } else {
    Map bytes = image;
    bytes.values = picture_values(picture, image);
    for (double& value : bytes.values)
      value = std::floor(value + (picture.rounding == Picture::Rounding::nearest ? 0.5 : 0));
    result = resample_bytes(resampling.kind, bytes, extent);
    for (double& value : result.values) value /= 255;
  }
  if (!resampling.keep_moments) return result;
  const double mean = mean_of(result.values);
  const double deviation = deviation_of(result.values);
  for (double& value : result.values) {
    value = (value - mean) / deviation * deviation_of(image.values) + mean_of(image.values);
  }
  return result;
}

}  // namespace filterscope::reference
