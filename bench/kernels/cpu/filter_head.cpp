#include <memory>
#include <vector>

#include "../check.h"
#include "families.h"
#include "host/base/threads.h"
#include "host/cpu/kernels.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

constexpr int kRows = 4;  // Rows that a thread computes at once, as in the engine.

struct Set {
  AlignedBuffer<float> maps;
  AlignedBuffer<float> weights;    // [images][blocks][9][kLanes]
  AlignedBuffer<float> responses;  // [images][height][width]
  AlignedBuffer<float> gradients;
};

// One tap's weight of one channel.
float weight_of(const Set& set, const MapShape& shape, int image, int tap, int channel) {
  const std::size_t block = std::size_t(image) * shape.blocks() + channel / kLanes;
  return set.weights.data()[(block * 9 + tap) * kLanes + channel % kLanes];
}

std::string check_forward(const Set& set, const MapShape& shape, int images, float bias) {
  Places places;
  Comparison comparison;
  for (int i = 0; i < Places::kCount; ++i) {
    const int image = places.any(images);
    const int y = places.coordinate(shape.height);
    const int x = places.coordinate(shape.width);
    Sum sum = convolve_at(
        {shape.height, shape.width}, y, x, shape.channels,
        [&](int in_y, int in_x, int c) { return set.maps.data()[offset(shape, image, in_y, in_x, c)]; },
        [&](int tap, int c) { return weight_of(set, shape, image, tap, c); });
    sum.add(bias);
    comparison.near(
        set.responses.data()[shape.positions() * image + static_cast<std::size_t>(y) * shape.width + x],
        std::max(sum.value, 0.), sum.tolerance(),
        [&] { return fmt::format("image {}, row {}, column {}", image, y, x); });
  }
  return comparison.complaint();
}

std::string check_backward(const Set& set, const MapShape& shape, int images, float scale, bool masked) {
  Places places;
  Comparison comparison;
  for (int i = 0; i < Places::kCount; ++i) {
    const int image = places.any(images);
    const int y = places.coordinate(shape.height);
    const int x = places.coordinate(shape.width);
    const int channel = places.any(shape.channels);
    const Sum sum = convolve_at(
        {shape.height, shape.width}, y, x, 1,
        [&](int out_y, int out_x, int) {
          const float response =
              set.responses
                  .data()[shape.positions() * image + static_cast<std::size_t>(out_y) * shape.width + out_x];
          return response > 0 ? scale : 0.f;
        },
        [&](int tap, int) { return weight_of(set, shape, image, 8 - tap, channel); });
    const std::size_t at = offset(shape, image, y, x, channel);
    const bool active = !masked || set.maps.data()[at] > 0;
    comparison.near(set.gradients.data()[at], active ? sum.value : 0, active ? sum.tolerance() : 0, [&] {
      return fmt::format("image {}, row {}, column {}, channel {}", image, y, x, channel);
    });
  }
  return comparison.complaint();
}

Operation make(const Layer& layer, bool forward, const Kernels& table, int images, CpuDevice& device) {
  constexpr float kBias = -0.25f;
  struct State {
    std::vector<Set> sets;
    AlignedBuffer<float> scratch;  // One slice per thread.
  };
  const MapShape shape{layer.in_channels, layer.map.height, layer.map.width};
  const std::size_t filter_size = 9 * static_cast<std::size_t>(shape.blocks()) * kLanes;
  const std::size_t scratch_size = static_cast<std::size_t>(shape.width) * kLanes;
  const bool masked = layer.relu_below;
  // The backward pass reads the map only as a mask.
  const std::size_t floats =
      shape.positions() + filter_size + (forward || masked ? shape.size() : 0) + (forward ? 0 : shape.size());
  const std::size_t bytes = floats * images * sizeof(float);
  const float scale = 1.f / static_cast<float>(shape.positions());
  const auto state = std::make_shared<State>();
  state->sets.resize(device.sets(bytes));
  state->scratch = poisoned(scratch_size * thread_count());
  for (std::size_t i = 0; i < state->sets.size(); ++i) {
    Set& set = state->sets[i];
    set.maps = random_maps(shape, images, 10 + i);
    set.weights = random_floats(filter_size * images, 20 + i);
    set.responses =
        forward ? poisoned(shape.positions() * images) : random_floats(shape.positions() * images, 30 + i);
    if (!forward) set.gradients = poisoned(shape.size() * images);
  }
  return {.work = {.operations = layer.operations(images) / layer.out_channels,
                   .bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(table.name),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [=, &table](int number) {
                Set& set = state->sets[number];
                parallel_tiles(images, shape.height, kRows, [&](int image, int begin, int end) {
                  const float* const map = set.maps.data() + shape.size() * image;
                  const float* const weights = set.weights.data() + filter_size * image;
                  float* const response = set.responses.data() + shape.positions() * image;
                  float* const scratch = state->scratch.data() + scratch_size * thread_number();
                  if (forward) {
                    table.head_forward(shape, map, weights, kBias, 0.f, response, scratch, begin, end);
                  } else {
                    table.head_backward(shape, response, scale, weights, masked ? map : nullptr,
                                        set.gradients.data() + shape.size() * image, scratch, begin, end);
                  }
                });
              },
          .check =
              [=] {
                const Set& set = state->sets[0];
                return forward ? check_forward(set, shape, images, kBias)
                               : check_backward(set, shape, images, scale, masked);
              }};
}

}  // namespace

void add_cpu_filter_heads(const Selection& selection, const std::shared_ptr<CpuDevice>& device) {
  const KernelTables tables = kernel_tables();
  for (const auto& [forward, direction] : {std::pair{true, "forward"}, {false, "input_gradient"}}) {
    for (const Layer& layer : selection.layers) {
      for (const int images : selection.cpu_batches) {
        for (int i = 0; i < tables.count; ++i) {
          const Kernels& table = *tables.tables[i];
          add(fmt::format("cpu/filter_head/{}/{}/{}/batch:{}", direction, layer.name, table.name, images),
              device,
              [=, forward = forward, &table] { return make(layer, forward, table, images, *device); });
        }
      }
    }
  }
}

}  // namespace filterscope::bench
