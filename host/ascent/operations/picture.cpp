#include "picture.h"

#include <algorithm>
#include <cmath>

namespace filterscope {

namespace {

struct Moments {
  double mean;
  double deviation;
};

Moments moments_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  double squares = 0;
  for (const float value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / static_cast<double>(values.size()))};
}

double bilinear(double x) {
  return std::max(0., 1 - std::abs(x));
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

}  // namespace

// As in Pillow's src/libImaging/Resample.c: smaller images average over more pixels.
std::vector<ResamplingTaps> resampling_taps(const Resampling& resampling, int from, int to) {
  const bool is_bicubic = resampling.kind == Resampling::Kind::bicubic;
  const double scale = static_cast<double>(from) / to;
  const double filter_scale = std::max(scale, 1.);
  const double support = (is_bicubic ? 2 : 1) * filter_scale;
  std::vector<ResamplingTaps> all;
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int end = std::min(static_cast<int>(centre + support + 0.5), from);
    ResamplingTaps taps{first, {}};
    double sum = 0;
    for (int j = first; j < end; ++j) {
      const double x = (j - centre + 0.5) / filter_scale;
      taps.weights.push_back(is_bicubic ? bicubic(x) : bilinear(x));
      sum += taps.weights.back();
    }
    for (double& weight : taps.weights) {
      weight /= sum;
      if (resampling.through_picture) weight = std::round(weight * 0x1p22) * 0x1p-22;
    }
    all.push_back(std::move(taps));
  }
  return all;
}

namespace {

float byte_of(double value) {
  return static_cast<float>(std::clamp(std::floor(value + 0.5), 0., 255.));
}

// Along rows first, then along columns, as Pillow does; 8-bit pictures are rounded after each.
void resize(const Resampling& resampling, std::span<const float> from, Extent from_extent,
            std::span<float> to, Extent to_extent) {
  const bool bytes = resampling.through_picture;
  const std::vector<ResamplingTaps> across = resampling_taps(resampling, from_extent.width, to_extent.width);
  const std::vector<ResamplingTaps> down = resampling_taps(resampling, from_extent.height, to_extent.height);
  std::vector<float> wide(static_cast<std::size_t>(from_extent.height) * to_extent.width * 3);
  float* next = wide.data();
  for (int y = 0; y < from_extent.height; ++y) {
    for (const ResamplingTaps& taps : across) {
      for (int c = 0; c < 3; ++c) {
        const float* at =
            from.data() + (static_cast<std::size_t>(y) * from_extent.width + taps.first) * 3 + c;
        double sum = 0;
        for (std::size_t i = 0; i < taps.weights.size(); ++i) sum += taps.weights[i] * at[i * 3];
        *next++ = bytes ? byte_of(sum) : static_cast<float>(sum);
      }
    }
  }
  const std::size_t row = static_cast<std::size_t>(to_extent.width) * 3;
  next = to.data();
  for (const ResamplingTaps& taps : down) {
    for (std::size_t x = 0; x < row; ++x) {
      const float* at = wide.data() + taps.first * row + x;
      double sum = 0;
      for (std::size_t i = 0; i < taps.weights.size(); ++i) sum += taps.weights[i] * at[i * row];
      *next++ = bytes ? byte_of(sum) : static_cast<float>(sum);
    }
  }
}

// The 8-bit values of a whole image.
std::vector<std::uint8_t> bytes_of(const Picture& picture, std::span<const float> image) {
  std::vector<std::uint8_t> bytes(image.size());
  if (picture.kind == Picture::Kind::min_max) {
    const auto [lowest, highest] = std::ranges::minmax(image);
    const float range = highest - lowest;
    const float half = picture.rounding == Picture::Rounding::nearest ? 0.5f : 0.f;
    if (!(range > 0.f)) return bytes;
    for (std::size_t i = 0; i < image.size(); ++i)
      bytes[i] = static_cast<std::uint8_t>(255.f * ((image[i] - lowest) / range) + half);
    return bytes;
  }
  double scale = 1. / (double{picture.high} - picture.low);
  double middle = picture.low;
  double centre = 0;
  if (picture.kind == Picture::Kind::standardise) {
    const Moments moments = moments_of(image);
    scale = picture.deviation / (moments.deviation + picture.epsilon);
    middle = moments.mean;
    centre = picture.centre;
  }
  const double half = picture.rounding == Picture::Rounding::nearest ? 0.5 : 0;
  for (std::size_t i = 0; i < image.size(); ++i) {
    const double unit = std::clamp((image[i] - middle) * scale + centre, 0., 1.);
    bytes[i] = static_cast<std::uint8_t>(255 * unit + half);
  }
  return bytes;
}

}  // namespace

void resample(const Resampling& resampling, const Picture& picture, std::span<const float> from,
              Extent from_extent, std::span<float> to, Extent to_extent) {
  if (!resampling.through_picture) {
    resize(resampling, from, from_extent, to, to_extent);
  } else {
    const std::vector<std::uint8_t> bytes = bytes_of(picture, from);
    const std::vector<float> values(bytes.begin(), bytes.end());
    resize(resampling, values, from_extent, to, to_extent);
    for (float& value : to) value = static_cast<float>(value / 255.);
  }
  if (!resampling.keep_moments) return;
  const Moments before = moments_of(from);
  const Moments now = moments_of(to);
  if (now.deviation == 0) return;
  for (float& value : to) {
    value = static_cast<float>((value - now.mean) / now.deviation * before.deviation + before.mean);
  }
}

std::vector<std::uint8_t> encode_picture(const Picture& picture, std::span<const float> image,
                                         Extent extent) {
  std::vector<float> resampled;
  if (picture.extent) {
    resampled.resize(static_cast<std::size_t>(picture.extent->positions()) * 3);
    resample(picture.resampling, picture, image, extent, resampled, *picture.extent);
    image = resampled;
    extent = *picture.extent;
  }
  std::vector<std::uint8_t> bytes = bytes_of(picture, image);
  if (picture.crop == 0) return bytes;
  std::vector<std::uint8_t> cropped;
  for (int y = picture.crop; y < extent.height - picture.crop; ++y) {
    const auto row = bytes.begin() + (static_cast<std::ptrdiff_t>(y) * extent.width) * 3;
    cropped.insert(cropped.end(), row + 3 * picture.crop, row + 3 * (extent.width - picture.crop));
  }
  return cropped;
}

}  // namespace filterscope
