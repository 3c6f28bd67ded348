#include "kernels/relu/relu_mask.h"

#include <memory>
#include <vector>

#include "families.h"
#include "memory.h"

namespace filterscope::bench {

namespace {

using cuda::DeviceBuffer;
using kernels::MaskFormat;

template <class T>
Operation pack(std::size_t count, CudaDevice& device, Precision precision) {
  struct Set {
    DeviceBuffer<T> values;
    DeviceBuffer<std::uint32_t> bits;
  };
  struct State {
    std::vector<Set> sets;
  };
  const auto state = std::make_shared<State>();
  const std::size_t bytes = count * sizeof(T) + count / 8;
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets)
    set = {random_activations<T>(count), poisoned_values<std::uint32_t>(count / 32)};
  return {.work = {.bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(precision),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, count, &stream = device.stream()](int number) {
                const Set& set = state->sets[number];
                kernels::pack_relu_mask<T>(set.values.data(), static_cast<std::int64_t>(count),
                                           set.bits.data(), stream);
              },
          .check =
              [state, count] {
                const Set& set = state->sets[0];
                const auto values = download(set.values.data(), count);
                const auto bits = download(set.bits.data(), count / 32);
                Comparison comparison;
                for (std::size_t i = 0; i < count; ++i) {
                  comparison.same(bit(bits, i) == (kernels::to_float(values[i]) > 0),
                                  [&] { return fmt::format("bit {}", i); });
                }
                return comparison.complaint();
              }};
}

template <class T>
Operation apply(std::size_t count, MaskFormat format, CudaDevice& device, Precision precision) {
  struct Set {
    DeviceBuffer<T> gradient;
    RandomMask<T> mask;
  };
  struct State {
    std::vector<Set> sets;
    DeviceBuffer<T> before;  // Set 0's gradient.
  };
  const auto state = std::make_shared<State>();
  // The gradient is both read and written.
  const std::size_t bytes = 2 * count * sizeof(T) + RandomMask<T>::bytes_of(format, count);
  state->sets.resize(device.sets(bytes));
  for (Set& set : state->sets) set = {random_values<T>(count), RandomMask<T>(format, count)};
  state->before = random_values<T>(count);
  return {.work = {.bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(precision),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, count, &stream = device.stream()](int number) {
                const Set& set = state->sets[number];
                kernels::apply_relu_mask<T>(set.gradient.data(), static_cast<std::int64_t>(count),
                                            set.mask.mask(), stream);
              },
          .check =
              [state, count] {
                const Set& set = state->sets[0];
                const auto before = download(state->before.data(), count);
                const auto after = download(set.gradient.data(), count);
                const std::vector<bool> active = set.mask.active(0, count);
                Comparison comparison;
                for (std::size_t i = 0; i < count; ++i) {
                  comparison.near(kernels::to_float(after[i]), active[i] ? kernels::to_float(before[i]) : 0,
                                  0, [&] { return fmt::format("element {}", i); });
                }
                return comparison.complaint();
              }};
}

}  // namespace

void add_relu_masks(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for_each_storage(selection, [&]<class T>(cuda::Storage<T>, Precision precision) {
    for (const Layer& layer : whole_layers(selection.layers)) {
      if (layer.pool_after) continue;  // The pool keeps its mask.
      for (const int images : selection.cuda_batches) {
        const std::size_t count =
            static_cast<std::size_t>(layer.map.positions()) * layer.out_channels * images;
        add(fmt::format("cuda/pack_relu_mask/{}/{}/batch:{}", layer.name, to_string(precision), images),
            device, [=] { return pack<T>(count, *device, precision); });
        for (const MaskFormat format : {MaskFormat::bits, MaskFormat::bytes, MaskFormat::activation}) {
          add(fmt::format("cuda/apply_relu_mask/{}/{}/{}/batch:{}", layer.name, to_string(format),
                          to_string(precision), images),
              device, [=] { return apply<T>(count, format, *device, precision); });
        }
      }
    }
  });
}

}  // namespace filterscope::bench
