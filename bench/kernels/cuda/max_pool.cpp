#include "kernels/pool/max_pool.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "families.h"
#include "memory.h"

namespace filterscope::bench {

namespace {

using cuda::DeviceBuffer;

template <class T>
struct Set {
  DeviceBuffer<T> whole;   // The pool's input, or its gradient.
  DeviceBuffer<T> pooled;  // The pool's output, or its gradient.
  DeviceBuffer<std::uint32_t> argmax, active;
};

struct Shape {
  Extent map;
  int channels;
  int images;
  Extent pooled() const { return {map.height / 2, map.width / 2}; }
  std::size_t size() const { return static_cast<std::size_t>(map.positions()) * channels; }
  std::size_t pooled_size() const { return static_cast<std::size_t>(pooled().positions()) * channels; }
};

// Both directions move the same bytes: the elements, and 3 bits per pooled element.
std::size_t bytes_of(const Shape& shape, std::size_t element) {
  return shape.images * ((shape.size() + shape.pooled_size()) * element + shape.pooled_size() * 3 / 8);
}

template <class T>
std::string check_forward(const Set<T>& set, const Shape& shape) {
  Places places;
  Comparison comparison;
  const Extent pooled = shape.pooled();
  for (const int image : checked_images(shape.images)) {
    const auto input = download_image(set.whole, image, shape.size());
    const auto output = download_image(set.pooled, image, shape.pooled_size());
    const auto argmax = download_image(set.argmax, image, shape.pooled_size() / 16);
    const auto active = download_image(set.active, image, shape.pooled_size() / 32);
    for (int i = 0; i < Places::kCount; ++i) {
      const int y = places.coordinate(pooled.height);
      const int x = places.coordinate(pooled.width);
      const int channel = places.any(shape.channels);
      std::array<float, 4> window{};
      for (int k = 0; k < 4; ++k) {
        const std::size_t position =
            static_cast<std::size_t>(2 * y + k / 2) * shape.map.width + 2 * x + k % 2;
        window[k] = kernels::to_float(input[position * shape.channels + channel]);
      }
      const auto first = std::ranges::max_element(window);
      const std::size_t at = (static_cast<std::size_t>(y) * pooled.width + x) * shape.channels + channel;
      const auto where = [&] { return place(image, y, x, channel); };
      comparison.near(kernels::to_float(output[at]), *first, 0, where);
      comparison.same(
          (argmax[at / 16] >> 2 * (at % 16) & 3u) == static_cast<unsigned>(first - window.begin()),
          [&] { return "the argmax of " + where(); });
      comparison.same(bit(active, at) == (*first > 0), [&] { return "the mask of " + where(); });
    }
  }
  return comparison.complaint();
}

template <class T>
std::string check_gradient(const Set<T>& set, const Shape& shape) {
  Places places;
  Comparison comparison;
  const Extent pooled = shape.pooled();
  for (const int image : checked_images(shape.images)) {
    const auto result = download_image(set.whole, image, shape.size());
    const auto gradient = download_image(set.pooled, image, shape.pooled_size());
    const auto argmax = download_image(set.argmax, image, shape.pooled_size() / 16);
    const auto active = download_image(set.active, image, shape.pooled_size() / 32);
    for (int i = 0; i < Places::kCount; ++i) {
      const int y = places.coordinate(shape.map.height);
      const int x = places.coordinate(shape.map.width);
      const int channel = places.any(shape.channels);
      double expected = 0;
      if (y / 2 < pooled.height && x / 2 < pooled.width) {
        const std::size_t at =
            (static_cast<std::size_t>(y / 2) * pooled.width + x / 2) * shape.channels + channel;
        const bool won =
            (argmax[at / 16] >> 2 * (at % 16) & 3u) == static_cast<unsigned>(2 * (y % 2) + x % 2);
        if (won && bit(active, at)) expected = kernels::to_float(gradient[at]);
      }
      const std::size_t position = static_cast<std::size_t>(y) * shape.map.width + x;
      comparison.near(kernels::to_float(result[position * shape.channels + channel]), expected, 0,
                      [&] { return place(image, y, x, channel); });
    }
  }
  return comparison.complaint();
}

template <class T>
Operation make(const Shape& shape, bool forward, CudaDevice& device, Precision precision) {
  struct State {
    std::vector<Set<T>> sets;
  };
  const auto state = std::make_shared<State>();
  const std::size_t bytes = bytes_of(shape, sizeof(T));
  const std::size_t pooled = shape.pooled_size() * shape.images;
  state->sets.resize(device.sets(bytes));
  for (Set<T>& set : state->sets) {
    if (forward) {
      set = {random_activations<T>(shape.size() * shape.images), poisoned_values<T>(pooled),
             poisoned_values<std::uint32_t>(pooled / 16), poisoned_values<std::uint32_t>(pooled / 32)};
    } else {
      set = {poisoned_values<T>(shape.size() * shape.images), random_values<T>(pooled),
             random_words(pooled / 16), random_words(pooled / 32)};
    }
  }
  return {.work = {.bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(precision),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, shape, forward, &stream = device.stream()](int number) {
                const Set<T>& set = state->sets[number];
                if (forward) {
                  kernels::max_pool<T>({.input = set.whole.data(),
                                        .output = set.pooled.data(),
                                        .argmax = set.argmax.data(),
                                        .active = set.active.data(),
                                        .images_count = shape.images,
                                        .height = shape.map.height,
                                        .width = shape.map.width,
                                        .channels = shape.channels},
                                       stream);
                } else {
                  kernels::max_pool_gradient<T>({.output_gradient = set.pooled.data(),
                                                 .argmax = set.argmax.data(),
                                                 .active = set.active.data(),
                                                 .input_gradient = set.whole.data(),
                                                 .images_count = shape.images,
                                                 .height = shape.map.height,
                                                 .width = shape.map.width,
                                                 .channels = shape.channels},
                                                stream);
                }
              },
          .check =
              [state, shape, forward] {
                return forward ? check_forward(state->sets[0], shape) : check_gradient(state->sets[0], shape);
              }};
}

}  // namespace

void add_max_pools(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for_each_storage(selection, [&]<class T>(cuda::Storage<T>, Precision precision) {
    for (const Layer& layer : whole_layers(selection.layers)) {
      if (!layer.pool_after) continue;
      for (const int images : selection.cuda_batches) {
        for (const bool forward : {true, false}) {
          add(fmt::format("cuda/{}/{}/{}/batch:{}", forward ? "max_pool" : "max_pool_gradient", layer.name,
                          to_string(precision), images),
              device, [=, shape = Shape{layer.map, layer.out_channels, images}] {
                return make<T>(shape, forward, *device, precision);
              });
        }
      }
    }
  });
}

}  // namespace filterscope::bench
