#include "kernels/head/filter_head.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "families.h"
#include "images.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/head/image_head.h"
#include "memory.h"

namespace filterscope::bench {

namespace {

using cuda::DeviceBuffer;
using kernels::kFilterHeadParts;
using kernels::MaskFormat;

// The arguments of a head of any layer: all filters' weights, and one filter per image.
struct Head {
  Head(const Layer& head_layer, int images_count)
      : layer(head_layer),
        images(images_count),
        weights(random_values<float>(std::size_t{9} * layer.in_channels * layer.out_channels)),
        bias(random_values<float>(layer.out_channels)),
        filter_numbers(images) {
    // Neighbouring images have different filters.
    for (int i = 0; i < images; ++i) filter_numbers[i] = 7 * i % layer.out_channels;
    filters = upload(filter_numbers);
    positive_sums = upload(std::vector<float>(sums_count(), 1.f));
  }

  std::size_t positions() const { return static_cast<std::size_t>(layer.map.positions()); }
  std::size_t input_size() const { return positions() * layer.in_channels; }
  std::size_t words() const { return (positions() + 31) / 32; }
  std::size_t active_words() const { return words() * images; }
  std::size_t sums_count() const { return static_cast<std::size_t>(kFilterHeadParts) * images; }
  double operations() const { return layer.operations(images) / layer.out_channels; }
  /// [9][in_channels] of the image's filter.
  std::vector<float> weights_of(int image) const {
    const std::size_t size = std::size_t{9} * layer.in_channels;
    return download(weights.data() + size * filter_numbers[image], size);
  }

  /// Random active bits as filter_head writes them: none past the end of a map.
  DeviceBuffer<std::uint32_t> random_active() const {
    std::mt19937 generator(2);
    std::vector<std::uint32_t> active(active_words());
    for (std::size_t i = 0; i < active.size(); ++i) {
      const std::size_t left = positions() - i % words() * 32;
      active[i] = static_cast<std::uint32_t>(generator()) & (left < 32 ? (1u << left) - 1 : ~0u);
    }
    return upload(active);
  }

  Layer layer;
  int images;
  DeviceBuffer<float> weights, bias;
  std::vector<int> filter_numbers;
  DeviceBuffer<int> filters;
  DeviceBuffer<float> positive_sums;  // Sums that rescue no image.
};

// Checks the active bits and sums of one image. input(y, x, channel): the layer's input.
template <class Input>
void compare_forward(Comparison& comparison, const Head& head, int image,
                     const DeviceBuffer<std::uint32_t>& active, const DeviceBuffer<float>& sums,
                     const Input& input) {
  const Extent map = head.layer.map;
  const auto weights = head.weights_of(image);
  const auto bias = download(head.bias.data(), head.bias.size());
  const auto bits = download_image(active, image, head.words());
  const auto parts = download_image(sums, image, kFilterHeadParts);
  double expected = 0;
  double tolerance = 0;
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      Sum sum = convolve_at(map, y, x, head.layer.in_channels, input, [&](int tap, int channel) {
        return weights[static_cast<std::size_t>(tap) * head.layer.in_channels + channel];
      });
      sum.add(bias[head.filter_numbers[image]]);
      expected += std::max(sum.value, 0.);
      tolerance += sum.tolerance();
      const bool is_active = bit(bits, static_cast<std::size_t>(y) * map.width + x);
      comparison.same(std::abs(sum.value) <= sum.tolerance() || is_active == (sum.value > 0),
                      [&] { return "the bit of " + place(image, y, x, 0); });
    }
  }
  double actual = 0;
  for (const float part : parts) actual += part;
  comparison.near(actual, expected, tolerance + 1e-5 * expected,
                  [&] { return fmt::format("the sum of image {}", image); });
}

// The expected gradient of one input value.
Sum gradient_at(const Head& head, const std::vector<float>& weights, std::span<const std::uint32_t> bits,
                float scale, int y, int x, int channel) {
  const Extent map = head.layer.map;
  return convolve_at(
      map, y, x, 1,
      [&](int out_y, int out_x, int) {
        return bit(bits, static_cast<std::size_t>(out_y) * map.width + out_x) ? scale : 0.f;
      },
      [&](int tap, int) {
        return weights[static_cast<std::size_t>(8 - tap) * head.layer.in_channels + channel];
      });
}

template <class T>
Operation forward(const Layer& layer, int images, CudaDevice& device, Precision precision) {
  struct Set {
    DeviceBuffer<T> input;
    DeviceBuffer<float> sums;
    DeviceBuffer<std::uint32_t> active;
  };
  struct State {
    Head head;
    std::vector<Set> sets;
  };
  const auto state = std::make_shared<State>(State{Head(layer, images), {}});
  const Head& head = state->head;
  const std::size_t bytes =
      images * (head.input_size() * sizeof(T) + (std::size_t{9} * layer.in_channels + kFilterHeadParts) * 4) +
      head.active_words() * 4;
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) {
    set = {random_activations<T>(head.input_size() * images), poisoned_values<float>(head.sums_count()),
           poisoned_values<std::uint32_t>(head.active_words())};
  }
  return {.work = {.operations = head.operations(), .bytes = static_cast<double>(bytes)},
          .ceilings = {.operations = device.ceilings(Precision::fp32).operations,
                       .bytes = device.ceilings(precision).bytes},
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, &stream = device.stream()](int number) {
                const Head& head = state->head;
                const Set& set = state->sets[number];
                kernels::filter_head<T>({.input = set.input.data(),
                                         .weights = head.weights.data(),
                                         .bias = head.bias.data(),
                                         .filters = head.filters.data(),
                                         .sums = set.sums.data(),
                                         .active = set.active.data(),
                                         .images_count = head.images,
                                         .height = head.layer.map.height,
                                         .width = head.layer.map.width,
                                         .channels = head.layer.in_channels},
                                        stream);
              },
          .check =
              [state] {
                const Head& head = state->head;
                const Set& set = state->sets[0];
                Comparison comparison;
                for (const int image : checked_images(head.images)) {
                  const auto input = download_image(set.input, image, head.input_size());
                  compare_forward(
                      comparison, head, image, set.active, set.sums, [&](int y, int x, int channel) {
                        const std::size_t position = static_cast<std::size_t>(y) * head.layer.map.width + x;
                        return kernels::to_float(input[position * head.layer.in_channels + channel]);
                      });
                }
                return comparison.complaint();
              }};
}

template <class T>
Operation gradient(const Layer& layer, MaskFormat format, int images, CudaDevice& device,
                   Precision precision) {
  struct Set {
    DeviceBuffer<std::uint32_t> active;
    RandomMask<T> mask;
    DeviceBuffer<T> gradient;
  };
  struct State {
    Head head;
    std::vector<Set> sets;
  };
  constexpr float kScale = 0.37f;
  const auto state = std::make_shared<State>(State{Head(layer, images), {}});
  const Head& head = state->head;
  const std::size_t size = head.input_size() * images;
  const std::size_t bytes = size * sizeof(T) + RandomMask<T>::bytes_of(format, size) +
                            head.active_words() * 4 + std::size_t{9} * layer.in_channels * images * 4;
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) {
    set = {head.random_active(), RandomMask<T>(format, size), poisoned_values<T>(size)};
  }
  return {.work = {.operations = head.operations(), .bytes = static_cast<double>(bytes)},
          .ceilings = {.operations = device.ceilings(Precision::fp32).operations,
                       .bytes = device.ceilings(precision).bytes},
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, &stream = device.stream()](int number) {
                const Head& head = state->head;
                const Set& set = state->sets[number];
                kernels::filter_head_gradient<T>({.active = set.active.data(),
                                                  .sums = head.positive_sums.data(),
                                                  .weights = head.weights.data(),
                                                  .filters = head.filters.data(),
                                                  .mask = set.mask.mask(),
                                                  .scale = kScale,
                                                  .gradient = set.gradient.data(),
                                                  .images_count = head.images,
                                                  .height = head.layer.map.height,
                                                  .width = head.layer.map.width,
                                                  .channels = head.layer.in_channels},
                                                 stream);
              },
          .check =
              [state] {
                const Head& head = state->head;
                const Set& set = state->sets[0];
                Places places;
                Comparison comparison;
                for (const int image : checked_images(head.images)) {
                  const auto weights = head.weights_of(image);
                  const auto bits = download_image(set.active, image, head.words());
                  const auto result = download_image(set.gradient, image, head.input_size());
                  const std::vector<bool> active = set.mask.active(image, head.input_size());
                  for (int i = 0; i < Places::kCount; ++i) {
                    const int y = places.coordinate(head.layer.map.height);
                    const int x = places.coordinate(head.layer.map.width);
                    const int channel = places.any(head.layer.in_channels);
                    const Sum sum = gradient_at(head, weights, bits, kScale, y, x, channel);
                    const std::size_t position = static_cast<std::size_t>(y) * head.layer.map.width + x;
                    const std::size_t at = position * head.layer.in_channels + channel;
                    comparison.near(kernels::to_float(result[at]), active[at] ? sum.value : 0,
                                    active[at] ? sum.tolerance() + rounding<T>(sum.value) : 0,
                                    [&] { return place(image, y, x, channel); });
                  }
                }
                return comparison.complaint();
              }};
}

Operation image_forward(const Layer& layer, int images, CudaDevice& device) {
  struct Set {
    DeviceBuffer<float> images, sums;
    DeviceBuffer<std::uint32_t> active;
  };
  struct State {
    Head head;
    std::vector<Set> sets;
  };
  const auto state = std::make_shared<State>(State{Head(layer, images), {}});
  const Head& head = state->head;
  const std::size_t bytes =
      (head.input_size() * images + head.sums_count() + std::size_t{27} * images + head.active_words()) * 4;
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) {
    set = {random_values<float, 0.f>(head.input_size() * images), poisoned_values<float>(head.sums_count()),
           poisoned_values<std::uint32_t>(head.active_words())};
  }
  return {.work = {.operations = head.operations(), .bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(Precision::fp32),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, &stream = device.stream()](int number) {
                const Head& head = state->head;
                const Set& set = state->sets[number];
                kernels::image_head({.images = set.images.data(),
                                     .weights = head.weights.data(),
                                     .bias = head.bias.data(),
                                     .filters = head.filters.data(),
                                     .map = kColours,
                                     .sums = set.sums.data(),
                                     .active = set.active.data(),
                                     .images_count = head.images,
                                     .height = head.layer.map.height,
                                     .width = head.layer.map.width},
                                    stream);
              },
          .check =
              [state] {
                const Head& head = state->head;
                const Set& set = state->sets[0];
                Comparison comparison;
                for (const int image : checked_images(head.images)) {
                  const auto values = download_image(set.images, image, head.input_size());
                  compare_forward(
                      comparison, head, image, set.active, set.sums, [&](int y, int x, int colour) {
                        const std::size_t position = static_cast<std::size_t>(y) * head.layer.map.width + x;
                        return mapped(values, position, colour);
                      });
                }
                return comparison.complaint();
              }};
}

Operation image_gradient(const Layer& layer, int images, CudaDevice& device) {
  struct Set {
    DeviceBuffer<std::uint32_t> active;
    DeviceBuffer<float> gradients, squares;
  };
  struct State {
    Head head;
    std::vector<Set> sets;
  };
  constexpr float kScale = 0.37f;
  const auto state = std::make_shared<State>(State{Head(layer, images), {}});
  const Head& head = state->head;
  const std::size_t parts = kernels::image_gradient_parts(layer.map.height, layer.map.width);
  const std::size_t bytes =
      ((head.input_size() + parts + std::size_t{27}) * images + head.active_words()) * sizeof(float);
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) {
    set = {head.random_active(), poisoned_values<float>(head.input_size() * images),
           poisoned_values<float>(parts * images)};
  }
  return {.work = {.operations = head.operations(), .bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(Precision::fp32),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, &stream = device.stream()](int number) {
                const Head& head = state->head;
                const Set& set = state->sets[number];
                kernels::image_head_gradient({.active = set.active.data(),
                                              .sums = head.positive_sums.data(),
                                              .weights = head.weights.data(),
                                              .filters = head.filters.data(),
                                              .map = kColours,
                                              .scale = kScale,
                                              .image_gradients = set.gradients.data(),
                                              .squares = set.squares.data(),
                                              .images_count = head.images,
                                              .height = head.layer.map.height,
                                              .width = head.layer.map.width},
                                             stream);
              },
          .check =
              [state, parts] {
                const Head& head = state->head;
                const Set& set = state->sets[0];
                Places places;
                Comparison comparison;
                for (const int image : checked_images(head.images)) {
                  const auto weights = head.weights_of(image);
                  const auto bits = download_image(set.active, image, head.words());
                  const auto result = download_image(set.gradients, image, head.input_size());
                  const auto squares = download_image(set.squares, image, parts);
                  for (int i = 0; i < Places::kCount; ++i) {
                    const int y = places.coordinate(head.layer.map.height);
                    const int x = places.coordinate(head.layer.map.width);
                    const int colour = places.any(3);
                    const int input = input_of_colour(colour);
                    const Sum sum = gradient_at(head, weights, bits, kScale, y, x, input);
                    const double factor = kColours.scale[input];
                    comparison.near(
                        result[(static_cast<std::size_t>(y) * head.layer.map.width + x) * 3 + colour],
                        factor * sum.value, 2 * factor * sum.tolerance(),
                        [&] { return place(image, y, x, colour); });
                  }
                  compare_squares(comparison, image, result, squares);
                }
                return comparison.complaint();
              }};
}

}  // namespace

void add_cuda_filter_heads(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  const Layer first = selection.layers.front();
  for (const int images : selection.cuda_batches) {
    add(fmt::format("cuda/filter_head/forward/{}/fp32/batch:{}", first.name, images), device,
        [=] { return image_forward(first, images, *device); });
    add(fmt::format("cuda/filter_head/input_gradient/{}/fp32/batch:{}", first.name, images), device,
        [=] { return image_gradient(first, images, *device); });
  }
  for_each_storage(selection, [&]<class T>(cuda::Storage<T>, Precision precision) {
    for (std::size_t i = 1; i < selection.layers.size(); ++i) {
      const Layer& layer = selection.layers[i];
      for (const int images : selection.cuda_batches) {
        add(fmt::format("cuda/filter_head/forward/{}/{}/batch:{}", layer.name, to_string(precision), images),
            device, [=] { return forward<T>(layer, images, *device, precision); });
        for (const MaskFormat format :
             {MaskFormat::none, MaskFormat::bits, MaskFormat::bytes, MaskFormat::activation}) {
          if (layer.masked_on_cuda == (format == MaskFormat::none)) continue;
          add(fmt::format("cuda/filter_head/input_gradient/{}/{}/{}/batch:{}", layer.name, to_string(format),
                          to_string(precision), images),
              device, [=] { return gradient<T>(layer, format, images, *device, precision); });
        }
      }
    }
  });
}

}  // namespace filterscope::bench
