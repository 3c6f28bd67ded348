#include "first_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>
#include <utility>

#include "plan/timing.h"
#include "storage.h"

namespace filterscope::cuda {

namespace {

constexpr int kTaps = 9;
constexpr int kColours = 3;
constexpr std::size_t kBitsPerWord = 32;
// Like ImageNet's input mapping, it swaps colours and shifts zero.
constexpr kernels::InputMap kMap{{2, 1, 0}, {58.f, 57.f, 57.f}, {-20.f, 10.f, 30.f}};

template <class Kernel>
const Kernel& named(std::span<const Kernel> kernels, std::string_view name) {
  const auto kernel = std::ranges::find(kernels, name, &Kernel::name);
  if (kernel == kernels.end())
    throw std::invalid_argument(fmt::format("the first layer has no kernel '{}'", name));
  return *kernel;
}

int parts(const FirstLayerProblem& problem) {
  return kernels::image_gradient_parts(problem.height, problem.width);
}

// Elements of one image's result.
std::size_t result_size(const FirstLayerProblem& problem) {
  return (problem.direction == Direction::fprop ? problem.map_size() : problem.images_size()) /
         problem.images;
}

const float* floats(const DeviceBuffer<std::byte>& buffer) {
  return reinterpret_cast<const float*>(buffer.data());
}

}  // namespace

std::string to_string(const FirstLayerProblem& problem) {
  const bool fprop = problem.direction == Direction::fprop;
  return fmt::format("{} {} {}x{}x{} {}->{}", fprop ? "first-layer fprop" : "first-layer dgrad",
                     filterscope::to_string(problem.precision), problem.images, problem.height, problem.width,
                     fprop ? kColours : problem.channels, fprop ? problem.channels : kColours);
}

std::vector<std::string> first_layer_kernels(const FirstLayerProblem& problem) {
  std::vector<std::string> names;
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    if (problem.direction == Direction::fprop) {
      for (const auto& kernel : kernels::first_layer_fprop_kernels<T>()) names.emplace_back(kernel.name);
    } else {
      for (const auto& kernel : kernels::first_layer_dgrad_kernels<T>())
        if (kernel.supports(problem.channels)) names.emplace_back(kernel.name);
    }
  });
  return names;
}

template <class T>
const kernels::FirstLayerFpropKernel<T>& first_layer_fprop_kernel(std::string_view name) {
  return named(kernels::first_layer_fprop_kernels<T>(), name);
}
template <class T>
const kernels::FirstLayerDgradKernel<T>& first_layer_dgrad_kernel(std::string_view name) {
  return named(kernels::first_layer_dgrad_kernels<T>(), name);
}

template const kernels::FirstLayerFpropKernel<float>& first_layer_fprop_kernel(std::string_view);
template const kernels::FirstLayerFpropKernel<kernels::Half>& first_layer_fprop_kernel(std::string_view);
template const kernels::FirstLayerFpropKernel<kernels::Bfloat16>& first_layer_fprop_kernel(std::string_view);
template const kernels::FirstLayerDgradKernel<float>& first_layer_dgrad_kernel(std::string_view);
template const kernels::FirstLayerDgradKernel<kernels::Half>& first_layer_dgrad_kernel(std::string_view);
template const kernels::FirstLayerDgradKernel<kernels::Bfloat16>& first_layer_dgrad_kernel(std::string_view);

FirstLayerTrial::FirstLayerTrial(const FirstLayerProblem& problem)
    : problem_(problem),
      samples_(samples_of(problem.images, result_size(problem))),
      weights_(random_values(std::size_t{kTaps} * kColours * problem.channels, Precision::fp32)),
      bias_(random_values(problem.channels, Precision::fp32)),
      mask_(random_bytes(problem.map_size() / 8)) {
  if (problem.direction == Direction::fprop) {
    images_ = random_values(problem.images_size(), Precision::fp32);
    map_ = DeviceBuffer<std::byte>(problem.map_size() * storage_bytes(problem.precision));
    return;
  }
  map_ = random_values(problem.map_size(), problem.precision);
  images_ = DeviceBuffer<std::byte>(problem.images_size() * sizeof(float));
  factors_ = random_values(problem.images, Precision::fp32);
  squares_ = DeviceBuffer<float>(static_cast<std::size_t>(problem.images) * parts(problem));
}

double FirstLayerTrial::milliseconds(std::string_view kernel, double cutoff) {
  const double milliseconds = device_milliseconds(
      stream_, [&] { launch(kernel, 0, problem_.images); }, cutoff);
  expect_right(kernel);
  return milliseconds;
}

void FirstLayerTrial::launch(std::string_view kernel, int first, int count) {
  with_storage(problem_.precision, [&]<class T>(Storage<T>) {
    const std::size_t map_element = problem_.map_size() / problem_.images * first;
    const std::size_t image_element = problem_.images_size() / problem_.images * first;
    T* const map = reinterpret_cast<T*>(map_.data()) + map_element;
    float* const images = reinterpret_cast<float*>(images_.data()) + image_element;
    std::uint32_t* const mask = reinterpret_cast<std::uint32_t*>(mask_.data()) + map_element / kBitsPerWord;
    if (problem_.direction == Direction::fprop) {
      first_layer_fprop_kernel<T>(kernel).launch({.images = images,
                                                  .weights = floats(weights_),
                                                  .bias = floats(bias_),
                                                  .map = kMap,
                                                  .output = map,
                                                  .mask = mask,
                                                  .images_count = count,
                                                  .height = problem_.height,
                                                  .width = problem_.width,
                                                  .out_channels = problem_.channels},
                                                 stream_);
    } else {
      first_layer_dgrad_kernel<T>(kernel).launch(
          {.gradient = map,
           .mask = mask,
           .weights = floats(weights_),
           .map = kMap,
           .factors = floats(factors_) + first,
           .image_gradients = images,
           .squares = squares_.data() + std::size_t(parts(problem_)) * first,
           .images_count = count,
           .height = problem_.height,
           .width = problem_.width,
           .channels = problem_.channels},
          stream_);
    }
  });
}

void FirstLayerTrial::expect_right(std::string_view kernel) {
  if (expected_.empty()) {
    const std::string reference = first_layer_kernels(problem_).back();
    std::vector<TrialResult> all;  // Assigned only if none of them fails.
    for (const Sample& sample : samples_) {
      launch(reference, sample.image, 1);
      stream_.synchronise();
      all.push_back(read(sample));
    }
    expected_ = std::move(all);
  }
  poison();
  launch(kernel, 0, problem_.images);
  stream_.synchronise();
  for (std::size_t i = 0; i < samples_.size(); ++i)
    expect_alike(read(samples_[i]), expected_[i],
                 {kernel, to_string(problem_), problem_.precision, samples_[i].image});
}

void FirstLayerTrial::poison() {
  const auto fill = [&](const auto& buffer) {
    check(cudaMemsetAsync(buffer.data(), 0xff, buffer.size() * sizeof(*buffer.data()), stream_), "filling");
  };
  if (problem_.direction == Direction::fprop) {
    fill(map_);
    fill(mask_);
  } else {
    fill(images_);
    fill(squares_);
  }
}

// The result of the last launch.
TrialResult FirstLayerTrial::read(const Sample& sample) const {
  TrialResult result;
  const std::size_t size = result_size(problem_);
  if (problem_.direction == Direction::fprop) {
    with_storage(problem_.precision, [&]<class T>(Storage<T>) {
      result.values = to_floats(read_sample(reinterpret_cast<const T*>(map_.data()), sample, size));
    });
    append_fields(
        result.kept,
        read_sample(reinterpret_cast<const std::uint32_t*>(mask_.data()), sample, size, kBitsPerWord), 1);
  } else {
    result.values = read_sample(floats(images_), sample, size);
    // Their square roots are of the size of the values.
    const int count = parts(problem_);
    for (const float square : to_host(squares_.data() + std::size_t(count) * sample.image, count))
      result.values.push_back(std::sqrt(square));
  }
  return result;
}

}  // namespace filterscope::cuda
