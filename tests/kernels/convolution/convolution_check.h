#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/convolution/convolution.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

/// The checks that every convolution kernel must pass.
namespace filterscope::test {

template <class T>
using ConvolutionLaunch = std::function<void(const kernels::ConvolutionArguments<T>&, cudaStream_t)>;

struct ConvolutionCase {
  int images;
  int height;
  int width;
  int in_channels;
  int out_channels;

  std::size_t positions() const { return static_cast<std::size_t>(images) * height * width; }
};

/// The optional arguments of a launch.
struct ConvolutionOptions {
  bool bias = false;
  bool mask_out = false;
  bool mask_in = false;
};

/// [out][3][3][in] from the reference's [3][3][in][out].
inline std::vector<float> fprop_weights(const std::vector<float>& kernel, int in_channels, int out_channels) {
  std::vector<float> weights(kernel.size());
  for (int k = 0; k < out_channels; ++k) {
    for (int tap = 0; tap < 9; ++tap) {
      for (int c = 0; c < in_channels; ++c) {
        weights[(k * 9 + tap) * in_channels + c] = kernel[(tap * in_channels + c) * out_channels + k];
      }
    }
  }
  return weights;
}

/// The weights of the dgrad, [in][3][3][out], from the reference's [3][3][in][out].
inline std::vector<float> dgrad_weights(const std::vector<float>& kernel, int in_channels, int out_channels) {
  std::vector<float> weights(kernel.size());
  for (int c = 0; c < in_channels; ++c) {
    for (int tap = 0; tap < 9; ++tap) {
      for (int k = 0; k < out_channels; ++k) {
        weights[(c * 9 + tap) * out_channels + k] = kernel[((8 - tap) * in_channels + c) * out_channels + k];
      }
    }
  }
  return weights;
}

/// Results of a kernel, and its mask_in.
struct ConvolutionRun {
  std::vector<float> output;
  std::vector<std::uint32_t> mask_out;
  std::vector<std::uint32_t> mask_in;
};

template <class T>
ConvolutionRun run_convolution(const ConvolutionLaunch<T>& launch, const ConvolutionCase& shape,
                               const ConvolutionOptions& options, const std::vector<float>& input,
                               const std::vector<float>& weights, const std::vector<float>& bias) {
  const std::size_t outputs = shape.positions() * shape.out_channels;
  ConvolutionRun run;
  run.mask_in.resize(outputs / 32);
  for (std::size_t i = 0; i < run.mask_in.size(); ++i) {
    run.mask_in[i] = static_cast<std::uint32_t>((i + 1) * 0x9e3779b97f4a7c15u >> 32);
  }
  const auto device_input = upload(round_to<T>(input));
  const auto device_weights = upload(round_to<T>(weights));
  const auto device_bias = upload(bias);
  const auto device_mask_in = upload(run.mask_in);
  const auto output = poisoned<T>(outputs);
  const auto mask_out = poisoned<std::uint32_t>(outputs / 32);
  launch({.input = device_input.data(),
          .weights = device_weights.data(),
          .bias = options.bias ? device_bias.data() : nullptr,
          .output = output.data(),
          .mask_out = options.mask_out ? mask_out.data() : nullptr,
          .mask_in = options.mask_in ? device_mask_in.data() : nullptr,
          .images_count = shape.images,
          .height = shape.height,
          .width = shape.width,
          .in_channels = shape.in_channels,
          .out_channels = shape.out_channels},
         nullptr);
  run.output = widen(download(output));
  run.mask_out = download(mask_out);
  return run;
}

/// Compares a run with the expected sums and the sums of the magnitudes of their terms, one pair of maps per
/// image. In fp32 sums of 9 in_channels products and a bias, each addition loses at most 2^-23 of the
/// magnitudes (tensor cores truncate instead of rounding), and the output is rounded once.
template <class T>
void expect_convolution(const ConvolutionRun& run, const ConvolutionCase& shape,
                        const ConvolutionOptions& options, const std::vector<reference::Map>& sums,
                        const std::vector<reference::Map>& magnitudes) {
  const double additions = 9.0 * shape.in_channels + 1;
  const std::size_t image_size = run.output.size() / shape.images;
  int wrong = 0;
  for (std::size_t i = 0; i < run.output.size() && wrong < 10; ++i) {
    const bool active = !options.mask_in || (run.mask_in[i / 32] >> i % 32 & 1u) != 0;
    const double sum = sums[i / image_size].values[i % image_size];
    const double expected = !active ? 0 : options.bias ? std::max(sum, 0.) : sum;
    const double tolerance = active
                                 ? additions * 0x1p-23 * magnitudes[i / image_size].values[i % image_size] +
                                       kRounding<T> * std::abs(expected)
                                 : 0;
    const double error = std::abs(run.output[i] - expected);
    const bool above = run.output[i] > 0;
    const bool mask_right = options.mask_out ? (run.mask_out[i / 32] >> i % 32 & 1u) == (above ? 1u : 0u)
                                             : run.mask_out[i / 32] == ~0u;
    if (error <= tolerance && mask_right) continue;
    ++wrong;
    ADD_FAILURE() << "position " << i / shape.out_channels << ", channel " << i % shape.out_channels << ": "
                  << run.output[i] << " instead of " << expected << " +- " << tolerance
                  << (mask_right ? "" : ", and its mask is wrong");
  }
}

inline std::vector<float> magnitudes_of(std::vector<float> values) {
  for (float& value : values) value = std::abs(value);
  return values;
}

/// Runs a convolution of random values and compares the result with the reference.
template <class T>
void check_convolution(const ConvolutionLaunch<T>& launch, const ConvolutionCase& shape,
                       const ConvolutionOptions& options) {
  SCOPED_TRACE(testing::Message() << shape.images << "x" << shape.height << "x" << shape.width << ", "
                                  << shape.in_channels << " -> " << shape.out_channels
                                  << (options.bias ? ", bias" : "") << (options.mask_out ? ", mask out" : "")
                                  << (options.mask_in ? ", mask in" : ""));
  const auto rounded = [](std::size_t count, std::uint64_t seed) {
    return widen(round_to<T>(random_values(count, seed, -1.f)));
  };
  const std::vector<float> input = rounded(shape.positions() * shape.in_channels, 1);
  const std::vector<float> kernel = rounded(std::size_t{9} * shape.in_channels * shape.out_channels, 2);
  const std::vector<float> bias = random_values(shape.out_channels, 3, -1.f);
  const ConvolutionRun run = run_convolution<T>(
      launch, shape, options, input, fprop_weights(kernel, shape.in_channels, shape.out_channels), bias);
  const std::vector<float> used_bias = options.bias ? bias : std::vector<float>(shape.out_channels);
  std::vector<reference::Map> sums;
  std::vector<reference::Map> magnitudes;
  const std::size_t image_size = input.size() / shape.images;
  for (int image = 0; image < shape.images; ++image) {
    const std::vector<float> values(input.begin() + image * image_size,
                                    input.begin() + (image + 1) * image_size);
    const Extent extent{shape.height, shape.width};
    sums.push_back(reference::convolve(reference::Map(extent, shape.in_channels, values), kernel, used_bias));
    magnitudes.push_back(reference::convolve(reference::Map(extent, shape.in_channels, magnitudes_of(values)),
                                             magnitudes_of(kernel), magnitudes_of(used_bias)));
  }
  expect_convolution<T>(run, shape, options, sums, magnitudes);
}

/// The same for the dgrad of a convolution from shape.out_channels to shape.in_channels, itself a
/// convolution of size `shape`.
template <class T>
void check_dgrad(const ConvolutionLaunch<T>& launch, const ConvolutionCase& shape,
                 const ConvolutionOptions& options) {
  SCOPED_TRACE(testing::Message() << "gradient " << shape.images << "x" << shape.height << "x" << shape.width
                                  << ", " << shape.in_channels << " -> " << shape.out_channels);
  const auto rounded = [](std::size_t count, std::uint64_t seed) {
    return widen(round_to<T>(random_values(count, seed, -1.f)));
  };
  const std::vector<float> gradient = rounded(shape.positions() * shape.in_channels, 4);
  // [3][3][in][out] of the convolution whose gradient this is.
  const std::vector<float> kernel = rounded(std::size_t{9} * shape.in_channels * shape.out_channels, 5);
  const ConvolutionRun run = run_convolution<T>(
      launch, shape, options, gradient, dgrad_weights(kernel, shape.out_channels, shape.in_channels), {});
  std::vector<reference::Map> sums;
  std::vector<reference::Map> magnitudes;
  const std::size_t image_size = gradient.size() / shape.images;
  for (int image = 0; image < shape.images; ++image) {
    const std::vector<float> values(gradient.begin() + image * image_size,
                                    gradient.begin() + (image + 1) * image_size);
    const Extent extent{shape.height, shape.width};
    sums.push_back(reference::convolve_input_gradient(reference::Map(extent, shape.in_channels, values),
                                                      kernel, shape.out_channels));
    magnitudes.push_back(
        reference::convolve_input_gradient(reference::Map(extent, shape.in_channels, magnitudes_of(values)),
                                           magnitudes_of(kernel), shape.out_channels));
  }
  expect_convolution<T>(run, shape, options, sums, magnitudes);
}

}  // namespace filterscope::test
