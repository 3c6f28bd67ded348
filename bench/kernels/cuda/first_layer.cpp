#include <memory>
#include <type_traits>
#include <vector>

#include "families.h"
#include "images.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/first_layer/fprop.h"
#include "memory.h"

namespace filterscope::bench {

namespace {

using cuda::DeviceBuffer;

struct Shape {
  Layer layer;
  int images;
  std::size_t positions() const { return static_cast<std::size_t>(layer.map.positions()); }
};

// [channels][3][3][3]
float weight_at(const std::vector<float>& weights, int channel, int tap, int colour) {
  return weights[(static_cast<std::size_t>(channel) * 9 + tap) * 3 + colour];
}

// Tensor cores take two or three products for one, since fp32 values are split into as many parts.
constexpr int kPartProducts = 3;
constexpr double kPartError = 3 * 0x1p-22;
template <class T>
constexpr int kWeightParts = std::is_same_v<T, kernels::Half> ? 2 : 3;

template <class T>
Operation first_layer_fprop(const kernels::FirstLayerFpropKernel<T>& kernel, const Shape& shape,
                            CudaDevice& device, Precision precision) {
  struct Set {
    DeviceBuffer<float> images;
    DeviceBuffer<T> output;
    DeviceBuffer<std::uint32_t> mask;
  };
  struct State {
    DeviceBuffer<float> weights, bias;
    std::vector<Set> sets;
  };
  const bool direct = kernel.name == "direct";
  const int channels = shape.layer.out_channels;
  const std::size_t values = shape.positions() * 3 * shape.images;
  const std::size_t outputs = shape.positions() * channels * shape.images;
  const std::size_t bytes = values * sizeof(float) + outputs * sizeof(T) + outputs / 8;
  const auto state = std::make_shared<State>();
  state->weights = random_values<float>(std::size_t{27} * channels);
  state->bias = random_values<float>(channels);
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) {
    set = {random_values<float, 0.f>(values), poisoned_values<T>(outputs),
           poisoned_values<std::uint32_t>(outputs / 32)};
  }
  return {.work = {.operations = shape.layer.operations(shape.images), .bytes = static_cast<double>(bytes)},
          .ceilings = {.operations = direct ? device.ceilings(Precision::fp32).operations
                                            : device.ceilings(Precision::fp16).operations / kPartProducts,
                       .bytes = device.ceilings(precision).bytes},
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, kernel, shape, channels, &stream = device.stream()](int number) {
                const Set& set = state->sets[number];
                kernel.launch({.images = set.images.data(),
                               .weights = state->weights.data(),
                               .bias = state->bias.data(),
                               .map = kColours,
                               .output = set.output.data(),
                               .mask = set.mask.data(),
                               .images_count = shape.images,
                               .height = shape.layer.map.height,
                               .width = shape.layer.map.width,
                               .out_channels = channels},
                              stream);
              },
          .check =
              [state, direct, shape, channels] {
                const Set& set = state->sets[0];
                const Extent map = shape.layer.map;
                const auto weights = download(state->weights.data(), state->weights.size());
                const auto bias = download(state->bias.data(), state->bias.size());
                Places places;
                Comparison comparison;
                for (const int image : checked_images(shape.images)) {
                  const std::size_t size = shape.positions() * channels;
                  const auto values_of_image = download_image(set.images, image, shape.positions() * 3);
                  const auto output = download_image(set.output, image, size);
                  const auto mask = download_image(set.mask, image, size / 32);
                  for (int i = 0; i < Places::kCount; ++i) {
                    const int y = places.coordinate(map.height);
                    const int x = places.coordinate(map.width);
                    const int channel = places.any(channels);
                    Sum sum = convolve_at(
                        map, y, x, 3,
                        [&](int in_y, int in_x, int colour) {
                          const std::size_t position = static_cast<std::size_t>(in_y) * map.width + in_x;
                          return mapped(values_of_image, position, colour);
                        },
                        [&](int tap, int colour) { return weight_at(weights, channel, tap, colour); });
                    sum.add(bias[channel]);
                    const std::size_t at = (static_cast<std::size_t>(y) * map.width + x) * channels + channel;
                    const double expected = std::max(sum.value, 0.);
                    const float actual = kernels::to_float(output[at]);
                    comparison.near(actual, expected,
                                    sum.tolerance(direct ? 0 : kPartError) + rounding<T>(expected),
                                    [&] { return place(image, y, x, channel); });
                    comparison.same(bit(mask, at) == (actual > 0),
                                    [&] { return "the mask of " + place(image, y, x, channel); });
                  }
                }
                return comparison.complaint();
              }};
}

template <class T>
Operation first_layer_dgrad(const kernels::FirstLayerDgradKernel<T>& kernel, const Shape& shape,
                            CudaDevice& device, Precision precision) {
  struct Set {
    DeviceBuffer<T> gradient;
    DeviceBuffer<std::uint32_t> mask;
    DeviceBuffer<float> image_gradients, squares;
  };
  struct State {
    DeviceBuffer<float> weights, factors;
    std::vector<Set> sets;
  };
  const bool direct = kernel.name == "direct";
  const int channels = shape.layer.out_channels;
  const Extent map = shape.layer.map;
  const std::size_t gradients = shape.positions() * channels * shape.images;
  const std::size_t values = shape.positions() * 3 * shape.images;
  const int parts = kernels::image_gradient_parts(map.height, map.width);
  const std::size_t bytes = gradients * sizeof(T) + gradients / 8 +
                            (values + static_cast<std::size_t>(parts) * shape.images) * sizeof(float);
  const auto state = std::make_shared<State>();
  state->weights = random_values<float>(std::size_t{27} * channels);
  state->factors = random_values<float, 0.5f>(shape.images);
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) {
    set = {random_values<T>(gradients), random_words(gradients / 32), poisoned_values<float>(values),
           poisoned_values<float>(static_cast<std::size_t>(parts) * shape.images)};
  }
  return {.work = {.operations = shape.layer.operations(shape.images), .bytes = static_cast<double>(bytes)},
          .ceilings = {.operations = direct ? device.ceilings(Precision::fp32).operations
                                            : device.ceilings(precision).operations / kWeightParts<T>,
                       .bytes = device.ceilings(precision).bytes},
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, kernel, shape, channels, &stream = device.stream()](int number) {
                const Set& set = state->sets[number];
                kernel.launch({.gradient = set.gradient.data(),
                               .mask = set.mask.data(),
                               .weights = state->weights.data(),
                               .map = kColours,
                               .factors = state->factors.data(),
                               .image_gradients = set.image_gradients.data(),
                               .squares = set.squares.data(),
                               .images_count = shape.images,
                               .height = shape.layer.map.height,
                               .width = shape.layer.map.width,
                               .channels = channels},
                              stream);
              },
          .check =
              [state, shape, channels, map, parts] {
                const Set& set = state->sets[0];
                const auto weights = download(state->weights.data(), state->weights.size());
                const auto factors = download(state->factors.data(), state->factors.size());
                Places places;
                Comparison comparison;
                for (const int image : checked_images(shape.images)) {
                  const std::size_t size = shape.positions() * channels;
                  const auto gradient = download_image(set.gradient, image, size);
                  const auto mask = download_image(set.mask, image, size / 32);
                  const auto result = download_image(set.image_gradients, image, shape.positions() * 3);
                  const auto squares = download_image(set.squares, image, parts);
                  for (int i = 0; i < Places::kCount; ++i) {
                    const int y = places.coordinate(map.height);
                    const int x = places.coordinate(map.width);
                    const int colour = places.any(3);
                    const int input = input_of_colour(colour);
                    const Sum sum = convolve_at(
                        map, y, x, channels,
                        [&](int out_y, int out_x, int k) {
                          const std::size_t at =
                              (static_cast<std::size_t>(out_y) * map.width + out_x) * channels + k;
                          return bit(mask, at) ? kernels::to_float(gradient[at]) : 0.f;
                        },
                        [&](int tap, int k) { return weight_at(weights, k, 8 - tap, input); });
                    const double factor = double{kColours.scale[input]} * factors[image];
                    comparison.near(result[(static_cast<std::size_t>(y) * map.width + x) * 3 + colour],
                                    factor * sum.value, 2 * factor * sum.tolerance(),
                                    [&] { return place(image, y, x, colour); });
                  }
                  compare_squares(comparison, image, result, squares);
                }
                return comparison.complaint();
              }};
}

}  // namespace

void add_first_layer(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for_each_storage(selection, [&]<class T>(cuda::Storage<T>, Precision precision) {
    for (const int images : selection.cuda_batches) {
      const Shape shape{selection.layers.front(), images};
      for (const auto& kernel : kernels::first_layer_fprop_kernels<T>()) {
        add(fmt::format("cuda/first_convolution/{}/{}/{}/batch:{}", shape.layer.name, kernel.name,
                        to_string(precision), images),
            device, [=] { return first_layer_fprop<T>(kernel, shape, *device, precision); });
      }
      for (const auto& kernel : kernels::first_layer_dgrad_kernels<T>()) {
        if (!kernel.supports(shape.layer.out_channels)) continue;
        add(fmt::format("cuda/last_gradient/{}/{}/{}/batch:{}", shape.layer.name, kernel.name,
                        to_string(precision), images),
            device, [=] { return first_layer_dgrad<T>(kernel, shape, *device, precision); });
      }
    }
  });
}

}  // namespace filterscope::bench
