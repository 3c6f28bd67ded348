#include "kernels/convolution/convolution.h"

#include <fmt/format.h>

#include <array>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "families.h"
#include "host/cuda/native_convolution.h"
#include "memory.h"

namespace filterscope::bench {

namespace {

using cuda::BiasType;
using cuda::ConvolutionProblem;
using cuda::ConvolutionVariant;
using cuda::DeviceBuffer;
using cuda::Direction;
using cuda::WeightLayout;

template <class T>
struct Buffers {
  DeviceBuffer<T> source, weights, destination;
  DeviceBuffer<T> storage_bias;
  DeviceBuffer<float> float_bias;
  DeviceBuffer<std::uint32_t> bits_out;
  DeviceBuffer<std::uint8_t> bytes_out;
  RandomMask<T> mask_in;
  DeviceBuffer<std::uint32_t> argmax, active;  // Indices of a pool.
  DeviceBuffer<T> map;                         // Input of a pool, if the variant needs it.
};

template <class T>
struct State {
  std::unique_ptr<ConvolutionVariant> variant;
  std::vector<Buffers<T>> sets;
  DeviceBuffer<std::byte> workspace;
};

// Relative error of products beyond that of an fp32 sum. cuDNN's fp32 plans may use Winograd's algorithm.
double product_error(const ConvolutionVariant& variant) {
  if (variant.problem().precision == Precision::tf32) return 0x1p-10;
  const bool cudnn = variant.name().starts_with("cudnn");
  return cudnn && variant.problem().precision == Precision::fp32 ? 0x1p-16 : 0;
}

// Takes the gradient of a pool's output, [height / 2][width / 2][channels], through the pool to its input.
template <class T>
std::vector<T> unpooled(const std::vector<T>& gradient, std::span<const std::uint32_t> argmax,
                        std::span<const std::uint32_t> active, const Extent& map, int channels) {
  std::vector<T> result(static_cast<std::size_t>(map.positions()) * channels, kernels::from_float<T>(0.f));
  for (std::size_t at = 0; at < gradient.size(); ++at) {
    if (!bit(active, at)) continue;
    const std::size_t window = at / channels;
    const std::size_t largest = argmax[at / 16] >> 2 * (at % 16) & 3u;
    const std::size_t y = window / (map.width / 2) * 2 + largest / 2;
    const std::size_t x = window % (map.width / 2) * 2 + largest % 2;
    result[(y * map.width + x) * channels + at % channels] = gradient[at];
  }
  return result;
}

template <class T>
std::string check(const State<T>& state) {
  const ConvolutionVariant& variant = *state.variant;
  const ConvolutionProblem& problem = variant.problem();
  const Buffers<T>& set = state.sets[0];
  const Extent map{problem.height, problem.width};
  const bool fprop = problem.direction == Direction::fprop;
  const int from = problem.source_channels();
  const int to = problem.destination_channels();
  const std::size_t from_size = problem.source_size() / problem.images;
  const std::size_t to_size = problem.destination_size() / problem.images;
  const std::size_t pooled_size = problem.pooled_size(problem.out_channels) / problem.images;
  const bool pools = problem.pooled && fprop;
  const auto weights = download(set.weights.data(), set.weights.size());
  std::vector<double> bias(to, 0.);
  if (fprop) {
    const auto floats = download(set.float_bias.data(), set.float_bias.size());
    const auto stored = download(set.storage_bias.data(), set.storage_bias.size());
    for (int k = 0; k < to; ++k) bias[k] = floats.empty() ? kernels::to_float(stored[k]) : floats[k];
  }
  // cuDNN's graphs may round between convolution, bias and ReLU.
  const int roundings = variant.name().starts_with("cudnn") ? 3 : 1;
  Places places;
  Comparison comparison;
  for (const int image : checked_images(problem.images)) {
    auto source = download_image(set.source, image, from_size);
    const auto result = download_image(set.destination, image, to_size);
    const std::vector<bool> active = set.mask_in.active(image, fprop ? 0 : to_size);
    const auto bits = download(set.bits_out.data() + (set.bits_out.size() == 0 ? 0 : to_size * image / 32),
                               set.bits_out.size() == 0 ? 0 : to_size / 32);
    const auto bytes = download(set.bytes_out.data() + (set.bytes_out.size() == 0 ? 0 : to_size * image),
                                set.bytes_out.size() == 0 ? 0 : to_size);
    std::vector<std::uint32_t> argmax;
    std::vector<std::uint32_t> pool_active;
    if (problem.pooled) {
      argmax = download_image(set.argmax, image, pooled_size / 16);
      pool_active = download_image(set.active, image, pooled_size / 32);
    }
    if (problem.pooled && !fprop) source = unpooled<T>(source, argmax, pool_active, map, from);
    for (int i = 0; i < Places::kCount; ++i) {
      const int y = places.coordinate(pools ? map.height / 2 : map.height);
      const int x = places.coordinate(pools ? map.width / 2 : map.width);
      const int channel = places.any(to);
      const auto weight = [&](int tap, int c) {
        const bool rows_of_destination = fprop || variant.weight_layout() == WeightLayout::crsk_rotated;
        const std::size_t at = rows_of_destination
                                   ? (static_cast<std::size_t>(channel) * 9 + tap) * from + c
                                   : (static_cast<std::size_t>(c) * 9 + 8 - tap) * to + channel;
        return kernels::to_float(weights[at]);
      };
      const auto value = [&](int in_y, int in_x, int c) {
        return kernels::to_float(source[(static_cast<std::size_t>(in_y) * map.width + in_x) * from + c]);
      };
      struct Element {
        double expected;
        double tolerance;
      };
      const auto element = [&](int map_y, int map_x, bool inactive) -> Element {
        if (inactive) return {0, 0};
        Sum sum = convolve_at(map, map_y, map_x, from, value, weight);
        const double product = std::abs(sum.value);
        sum.add(bias[channel]);
        const double expected = fprop ? std::max(sum.value, 0.) : sum.value;
        return {expected,
                sum.tolerance(product_error(variant)) +
                    roundings * rounding<T>(roundings == 1 ? expected : product + std::abs(bias[channel]))};
      };
      if (pools) {
        std::array<Element, 4> window;
        Element maximum{0, 0};
        for (int k = 0; k < 4; ++k) {
          window[k] = element(2 * y + k / 2, 2 * x + k % 2, false);
          maximum.expected = std::max(maximum.expected, window[k].expected);
          maximum.tolerance = std::max(maximum.tolerance, window[k].tolerance);
        }
        const std::size_t at = (static_cast<std::size_t>(y) * (map.width / 2) + x) * to + channel;
        const float actual = kernels::to_float(result[at]);
        const auto where = [&] { return place(image, y, x, channel); };
        comparison.near(actual, maximum.expected, maximum.tolerance, where);
        const Element& largest = window[argmax[at / 16] >> 2 * (at % 16) & 3u];
        comparison.same(largest.expected >= maximum.expected - 2 * maximum.tolerance,
                        [&] { return "the argmax of " + where(); });
        comparison.same(bit(pool_active, at) == (actual > 0), [&] { return "the mask of " + where(); });
        continue;
      }
      const std::size_t at = (static_cast<std::size_t>(y) * map.width + x) * to + channel;
      const auto [expected, tolerance] = element(y, x, !fprop && !active[at]);
      const float actual = kernels::to_float(result[at]);
      comparison.near(actual, expected, tolerance, [&] { return place(image, y, x, channel); });
      const auto same_mask = [&](bool set_in_mask) {
        comparison.same(set_in_mask == (actual > 0),
                        [&] { return "the mask of " + place(image, y, x, channel); });
      };
      if (!bits.empty()) same_mask(bit(bits, at));
      if (!bytes.empty()) same_mask(bytes[at] != 0);
    }
  }
  return comparison.complaint();
}

template <class T>
Operation make(std::unique_ptr<ConvolutionVariant> variant, CudaDevice& device) {
  const ConvolutionProblem problem = variant->problem();
  const bool fprop = problem.direction == Direction::fprop;
  const std::size_t positions = std::size_t(problem.images) * problem.height * problem.width;
  const std::size_t from = problem.source_size();
  const std::size_t to = problem.destination_size();
  const std::size_t pool_outputs = problem.pooled ? problem.pooled_size(problem.out_channels) : 0;
  const std::size_t weights = std::size_t{9} * problem.in_channels * problem.out_channels;
  const kernels::MaskFormat format = problem.mask;
  // In fprop, the activation is the result itself.
  const std::size_t mask_bytes =
      fprop && format == kernels::MaskFormat::activation ? 0 : RandomMask<T>::bytes_of(format, to);
  const std::size_t map = variant->needs_map() ? problem.map_size(problem.out_channels) : 0;
  // Excludes a map that is written and read between two passes: the ideal avoids it.
  const std::size_t bytes = (from + to + weights) * sizeof(T) + mask_bytes + pool_outputs * 3 / 8;

  const auto state = std::make_shared<State<T>>();
  state->workspace = DeviceBuffer<std::byte>(variant->workspace_bytes());
  state->sets.resize(device.sets(bytes + map * sizeof(T)));
  for (Buffers<T>& set : state->sets) {
    set.source = random_values<T>(from);
    set.weights = random_values<T>(weights);
    set.destination = poisoned_values<T>(to);
    if (fprop && variant->bias_type() == BiasType::fp32) {
      set.float_bias = random_values<float>(problem.out_channels);
    } else if (fprop) {
      set.storage_bias = random_values<T>(problem.out_channels);
    }
    if (fprop && problem.mask == kernels::MaskFormat::bits)
      set.bits_out = poisoned_values<std::uint32_t>(to / 32);
    if (fprop && problem.mask == kernels::MaskFormat::bytes)
      set.bytes_out = poisoned_values<std::uint8_t>(to);
    if (!fprop) set.mask_in = RandomMask<T>(format, to);
    const auto pool_words = [&](std::size_t count) {
      return fprop ? poisoned_values<std::uint32_t>(count) : random_words(count);
    };
    set.argmax = pool_words(pool_outputs / 16);
    set.active = pool_words(pool_outputs / 32);
    set.map = poisoned_values<T>(map);
  }
  const std::string label = variant->name();
  state->variant = std::move(variant);
  return {.work = {.operations = 2. * static_cast<double>(weights) * static_cast<double>(positions),
                   .bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(problem.precision),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, fprop, &stream = device.stream()](int number) {
                const Buffers<T>& set = state->sets[number];
                const bool float_bias = set.float_bias.size() > 0;
                void* const mask = set.bits_out.size() > 0 ? static_cast<void*>(set.bits_out.data())
                                                           : static_cast<void*>(set.bytes_out.data());
                state->variant->launch(
                    {.source = set.source.data(),
                     .weights = set.weights.data(),
                     .bias = float_bias ? static_cast<const void*>(set.float_bias.data())
                                        : static_cast<const void*>(set.storage_bias.data()),
                     .destination = set.destination.data(),
                     .mask_out = fprop ? mask : nullptr,
                     .mask_in = fprop ? nullptr : set.mask_in.mask().data,
                     .workspace = state->workspace.data(),
                     .argmax = set.argmax.data(),
                     .active = set.active.data(),
                     .map = set.map.data()},
                    stream);
              },
          .check = [state] { return check(*state); },
          .label = label};
}

}  // namespace

Operation convolution_operation(std::unique_ptr<ConvolutionVariant> variant, CudaDevice& device) {
  return cuda::with_storage(variant->problem().precision,
                            [&]<class T>(cuda::Storage<T>) { return make<T>(std::move(variant), device); });
}

namespace {

// All native variants; with a pool, both those that fuse it and those with a separate pass.
void add_variants(const ConvolutionProblem& problem, const std::string& layer,
                  const std::shared_ptr<CudaDevice>& device) {
  const std::size_t count = cuda::native_variants(problem).size();
  for (std::size_t i = 0; i < count; ++i) {
    std::string kernel = cuda::native_variants(problem)[i]->name();
    kernel = kernel.substr(kernel.find(' ') + 1);
    std::erase(kernel, ' ');
    add(fmt::format("cuda/convolution/{}{}/{}/{}/{}/batch:{}",
                    problem.direction == Direction::fprop ? "forward" : "input_gradient",
                    problem.pooled ? "_pooled" : "", layer, kernel, to_string(problem.precision),
                    problem.images),
        device, [=] { return convolution_operation(std::move(cuda::native_variants(problem)[i]), *device); });
  }
}

}  // namespace

void add_native_convolutions(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for (const Direction direction : {Direction::fprop, Direction::dgrad}) {
    for (const Layer& layer : whole_layers(selection.layers)) {
      for (const std::string& precision : selection.precisions) {
        for (const int images : selection.cuda_batches) {
          const bool masked = direction == Direction::fprop ? !layer.pool_after : layer.masked_on_cuda;
          ConvolutionProblem problem{.images = images,
                                     .height = layer.map.height,
                                     .width = layer.map.width,
                                     .in_channels = layer.in_channels,
                                     .out_channels = layer.out_channels,
                                     .precision = parse_precision(precision),
                                     .direction = direction,
                                     .mask = masked ? kernels::MaskFormat::bits : kernels::MaskFormat::none};
          add_variants(problem, layer.name, device);
          if (!layer.pool_after) continue;
          problem.pooled = true;
          add_variants(problem, layer.name, device);
        }
      }
    }
  }
}

}  // namespace filterscope::bench
