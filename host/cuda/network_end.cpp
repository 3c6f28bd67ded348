#include "network_end.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>

#include "storage.h"
#include "timing.h"

namespace filterscope::cuda {

namespace {

constexpr int kTaps = 9;
constexpr int kColours = 3;
constexpr std::size_t kBitsPerWord = 32;
// As the ImageNet means and ranges do it: colours are swapped, and zero is not zero.
constexpr kernels::InputMap kMap{{2, 1, 0}, {58.f, 57.f, 57.f}, {-20.f, 10.f, 30.f}};

template <class Kernel>
const Kernel& named(std::span<const Kernel> kernels, std::string_view name) {
  const auto kernel = std::ranges::find(kernels, name, &Kernel::name);
  if (kernel == kernels.end())
    throw std::invalid_argument(fmt::format("the network's ends have no kernel '{}'", name));
  return *kernel;
}

int parts(const EndProblem& problem) {
  return kernels::image_gradient_parts(problem.height, problem.width);
}

const float* floats(const DeviceBuffer<std::byte>& buffer) {
  return reinterpret_cast<const float*>(buffer.data());
}

}  // namespace

std::string to_string(const EndProblem& problem) {
  const bool forward = problem.direction == Direction::forward;
  return fmt::format("{} {} {}x{}x{} {}->{}", forward ? "first convolution" : "last gradient",
                     filterscope::to_string(problem.precision), problem.images, problem.height, problem.width,
                     forward ? kColours : problem.channels, forward ? problem.channels : kColours);
}

std::vector<std::string> end_kernels(const EndProblem& problem) {
  std::vector<std::string> names;
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    if (problem.direction == Direction::forward) {
      for (const auto& kernel : kernels::first_convolution_kernels<T>()) names.emplace_back(kernel.name);
    } else {
      for (const auto& kernel : kernels::last_gradient_kernels<T>())
        if (kernel.supports(problem.channels)) names.emplace_back(kernel.name);
    }
  });
  return names;
}

template <class T>
const kernels::FirstConvolutionKernel<T>& first_convolution_kernel(std::string_view name) {
  return named(kernels::first_convolution_kernels<T>(), name);
}
template <class T>
const kernels::LastGradientKernel<T>& last_gradient_kernel(std::string_view name) {
  return named(kernels::last_gradient_kernels<T>(), name);
}

template const kernels::FirstConvolutionKernel<float>& first_convolution_kernel(std::string_view);
template const kernels::FirstConvolutionKernel<kernels::Half>& first_convolution_kernel(std::string_view);
template const kernels::FirstConvolutionKernel<kernels::Bfloat16>& first_convolution_kernel(std::string_view);
template const kernels::LastGradientKernel<float>& last_gradient_kernel(std::string_view);
template const kernels::LastGradientKernel<kernels::Half>& last_gradient_kernel(std::string_view);
template const kernels::LastGradientKernel<kernels::Bfloat16>& last_gradient_kernel(std::string_view);

EndTrial::EndTrial(const EndProblem& problem)
    : problem_(problem),
      looked_at_{0},
      weights_(random_values(std::size_t{kTaps} * kColours * problem.channels, Precision::fp32)),
      bias_(random_values(problem.channels, Precision::fp32)),
      mask_(problem.map_size() / kBitsPerWord) {
  if (problem.images > 1) looked_at_.push_back(problem.images - 1);
  if (problem.direction == Direction::forward) {
    images_ = random_values(problem.images_size(), Precision::fp32);
    map_ = DeviceBuffer<std::byte>(problem.map_size() * storage_bytes(problem.precision));
    return;
  }
  map_ = random_values(problem.map_size(), problem.precision);
  images_ = DeviceBuffer<std::byte>(problem.images_size() * sizeof(float));
  factors_ = random_values(problem.images, Precision::fp32);
  squares_ = DeviceBuffer<float>(static_cast<std::size_t>(problem.images) * parts(problem));
  constexpr int kHalfOpen = 0x5a;
  check(cudaMemset(mask_.data(), kHalfOpen, mask_.size() * sizeof(std::uint32_t)), "filling device memory");
  check(cudaStreamSynchronize(nullptr), "filling device memory");
}

double EndTrial::milliseconds(std::string_view kernel, double hopeless) {
  const double milliseconds = device_milliseconds(
      stream_, [&] { launch(kernel, 0, problem_.images); }, hopeless);
  expect_right(kernel);
  return milliseconds;
}

void EndTrial::launch(std::string_view kernel, int first, int count) {
  with_storage(problem_.precision, [&]<class T>(Storage<T>) {
    const std::size_t map_element = problem_.map_size() / problem_.images * first;
    const std::size_t image_element = problem_.images_size() / problem_.images * first;
    T* const map = reinterpret_cast<T*>(map_.data()) + map_element;
    float* const images = reinterpret_cast<float*>(images_.data()) + image_element;
    std::uint32_t* const mask = mask_.data() + map_element / kBitsPerWord;
    if (problem_.direction == Direction::forward) {
      first_convolution_kernel<T>(kernel).launch({.images = images,
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
      last_gradient_kernel<T>(kernel).launch(
          {.gradient = map,
           .gate = mask,
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

void EndTrial::expect_right(std::string_view kernel) {
  if (expected_.empty()) {
    const std::string plainest = end_kernels(problem_).back();
    for (const int image : looked_at_) {
      launch(plainest, image, 1);
      stream_.synchronise();
      expected_.push_back(read(image));
    }
  }
  poison();
  launch(kernel, 0, problem_.images);
  stream_.synchronise();
  for (std::size_t i = 0; i < looked_at_.size(); ++i)
    expect_alike(read(looked_at_[i]), expected_[i],
                 {kernel, to_string(problem_), problem_.precision, looked_at_[i]});
}

void EndTrial::poison() {
  const auto fill = [&](const auto& buffer) {
    check(cudaMemsetAsync(buffer.data(), 0xff, buffer.size() * sizeof(*buffer.data()), stream_), "filling");
  };
  if (problem_.direction == Direction::forward) {
    fill(map_);
    fill(mask_);
  } else {
    fill(images_);
    fill(squares_);
  }
}

// What the last launch has left.
TrialResult EndTrial::read(int image) const {
  TrialResult result;
  const auto part = [&]<class T>(const T* data, std::size_t count) {
    return to_host(data + count * image, count);
  };
  if (problem_.direction == Direction::forward) {
    const std::size_t size = problem_.map_size() / problem_.images;
    with_storage(problem_.precision, [&]<class T>(Storage<T>) {
      result.values = to_floats(part(reinterpret_cast<const T*>(map_.data()), size));
    });
    append_fields(result.kept, part(mask_.data(), size / kBitsPerWord), 1);
  } else {
    result.values = part(floats(images_), problem_.images_size() / problem_.images);
    // Norms, which are as large as what they are of.
    for (const float square : part(squares_.data(), parts(problem_)))
      result.values.push_back(std::sqrt(square));
  }
  return result;
}

}  // namespace filterscope::cuda
