#include "picture_encoder.h"

#include <algorithm>
#include <span>
#include <vector>

#include "kernels/picture/encode.h"
#include "kernels/picture/resample.h"
#include "stage_arguments.h"

namespace filterscope::cuda {

namespace {

// As many images are resampled at a time.
constexpr int kSome = 8;

std::size_t values(Extent extent) {
  return static_cast<std::size_t>(extent.positions()) * 3;
}

// Calls use(first, count) for all images, some at a time.
template <class Use>
void for_some(int images, const Use& use) {
  for (int first = 0; first < images; first += kSome) use(first, std::min(kSome, images - first));
}

}  // namespace

Resampler::Taps::Taps(std::span<const ResamplingTaps> taps) {
  std::size_t longest = 0;
  for (const ResamplingTaps& one : taps) longest = std::max(longest, one.weights.size());
  most = static_cast<int>(longest);
  std::vector<int> firsts;
  std::vector<int> sizes;
  std::vector<double> all;
  for (const ResamplingTaps& one : taps) {
    firsts.push_back(one.first);
    sizes.push_back(static_cast<int>(one.weights.size()));
    all.insert(all.end(), one.weights.begin(), one.weights.end());
    all.resize(firsts.size() * longest);
  }
  first = DeviceBuffer<int>(std::span<const int>(firsts));
  counts = DeviceBuffer<int>(std::span<const int>(sizes));
  weights = DeviceBuffer<double>(std::span<const double>(all));
}

Resampler::Resampler(const Resampling& resampling, const Picture& picture, Extent from, Extent to)
    : resampling_(resampling),
      picture_(picture),
      from_(from),
      to_(to),
      across_(resampling_taps(resampling, from.width, to.width)),
      down_(resampling_taps(resampling, from.height, to.height)),
      wide_(kSome * values({from.height, to.width})),
      bytes_(resampling.through_picture ? kSome * values(from) : 0),
      unit_(std::span<const kernels::Moments>(std::vector<kernels::Moments>(kSome, {0, 1}))),
      before_(kSome),
      after_(kSome) {}

std::size_t Resampler::bytes(Extent from, Extent to) {
  // An element is made of at most 4 others, or of 4 times the ratio of the sizes.
  const auto taps = [](int more, int fewer) {
    return std::size_t(fewer) * 16 + (std::size_t{4} * std::max(more, fewer) + std::size_t{2} * fewer) * 8;
  };
  return taps(from.width, to.width) + taps(from.height, to.height) +
         kSome * (values({from.height, to.width}) * sizeof(float) + values(from) + 64);
}

void Resampler::operator()(const float* from, float* to, int images, cudaStream_t stream) const {
  for_some(images, [&](int first, int count) {
    resample_some(from + first * values(from_), to + first * values(to_), count, stream);
  });
}

void Resampler::resample_some(const float* from, float* to, int images, cudaStream_t stream) const {
  const auto pass = [&]<class T>(const T* in, float* out, const Taps& taps, std::int64_t outer, int from_size,
                                 int to_size, int inner) {
    kernels::resample<T>({.from = in,
                          .to = out,
                          .first = taps.first.data(),
                          .taps = taps.counts.data(),
                          .weights = taps.weights.data(),
                          .most_taps = taps.most,
                          .bytes = resampling_.through_picture,
                          .outer = outer,
                          .from_size = from_size,
                          .to_size = to_size,
                          .inner = inner},
                         stream);
  };
  const auto rows = [&](const auto* in) {
    pass(in, wide_.data(), across_, std::int64_t{images} * from_.height, from_.width, to_.width, 3);
  };
  const auto from_values = static_cast<int>(values(from_));
  const auto to_values = static_cast<int>(values(to_));
  if (resampling_.through_picture) {
    kernels::EncodePictureArguments arguments = encode_arguments(picture_, from_);
    arguments.images = from;
    arguments.pictures = bytes_.data();
    arguments.images_count = images;
    kernels::encode_picture(arguments, stream);
    rows(bytes_.data());
  } else {
    rows(from);
  }
  pass(wide_.data(), to, down_, images, from_.height, to_.height, to_.width * 3);
  if (resampling_.through_picture) {
    kernels::set_moments({.images = to,
                          .moments = unit_.data(),
                          .given = {0, 255},
                          .images_count = images,
                          .values_per_image = to_values},
                         stream);
  }
  if (!resampling_.keep_moments) return;
  kernels::image_moments(from, before_.data(), images, from_values, stream);
  kernels::image_moments(to, after_.data(), images, to_values, stream);
  kernels::set_moments({.images = to,
                        .moments = before_.data(),
                        .own = after_.data(),
                        .images_count = images,
                        .values_per_image = to_values},
                       stream);
}

PictureEncoder::PictureEncoder(const Recipe& recipe, Extent extent)
    : picture_(recipe.picture),
      extent_(extent),
      last_(recipe.last().extent),
      whole_(recipe.picture.extent.value_or(last_)),
      picture_size_(values(recipe.picture_extent())) {
  if (extent_ != last_) {
    to_last_.emplace(Resampling{}, picture_, extent_, last_);
    last_images_ = DeviceBuffer<float>(kSome * values(last_));
  }
  if (picture_.extent) {
    to_whole_.emplace(picture_.resampling, picture_, last_, whole_);
    whole_images_ = DeviceBuffer<float>(kSome * values(whole_));
  }
}

std::size_t PictureEncoder::bytes(const Recipe& recipe, Extent extent) {
  const Extent last = recipe.last().extent;
  std::size_t sum = 0;
  if (extent != last) sum += Resampler::bytes(extent, last) + kSome * values(last) * sizeof(float);
  if (const auto& whole = recipe.picture.extent)
    sum += Resampler::bytes(last, *whole) + kSome * values(*whole) * sizeof(float);
  return sum;
}

void PictureEncoder::operator()(const float* images, std::uint8_t* pictures, int count,
                                cudaStream_t stream) const {
  if (!to_last_ && !to_whole_) return encode(images, pictures, count, stream);
  for_some(count, [&](int first, int some) {
    const float* from = images + first * values(extent_);
    if (to_last_) {
      (*to_last_)(from, last_images_.data(), some, stream);
      from = last_images_.data();
    }
    if (to_whole_) {
      (*to_whole_)(from, whole_images_.data(), some, stream);
      from = whole_images_.data();
    }
    encode(from, pictures + first * picture_size_, some, stream);
  });
}

// Images of extent whole_.
void PictureEncoder::encode(const float* images, std::uint8_t* pictures, int count,
                            cudaStream_t stream) const {
  if (picture_.kind == Picture::Kind::min_max && picture_.rounding == Picture::Rounding::nearest &&
      picture_.crop == 0) {
    kernels::encode({.images = images,
                     .pictures = pictures,
                     .images_count = count,
                     .values_per_image = static_cast<int>(values(whole_))},
                    stream);
    return;
  }
  kernels::EncodePictureArguments arguments = encode_arguments(picture_, whole_);
  arguments.images = images;
  arguments.pictures = pictures;
  arguments.images_count = count;
  arguments.crop = picture_.crop;
  kernels::encode_picture(arguments, stream);
}

}  // namespace filterscope::cuda
