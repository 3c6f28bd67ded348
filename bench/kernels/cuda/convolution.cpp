#include "kernels/convolution.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "families.h"
#include "host/cuda/own_convolution.h"
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
  RandomGate<T> gate_in;
};

template <class T>
struct State {
  std::unique_ptr<ConvolutionVariant> variant;
  std::vector<Buffers<T>> sets;
  DeviceBuffer<std::byte> workspace;
};

// Errors of products besides those of an fp32 sum. cuDNN's plans may use Winograd's algorithm in fp32.
double product_error(const ConvolutionVariant& variant) {
  if (variant.problem().precision == Precision::tf32) return 0x1p-10;
  const bool cudnn = variant.name().starts_with("cudnn");
  return cudnn && variant.problem().precision == Precision::fp32 ? 0x1p-16 : 0;
}

template <class T>
std::string check(const State<T>& state) {
  const ConvolutionVariant& variant = *state.variant;
  const ConvolutionProblem& problem = variant.problem();
  const Buffers<T>& set = state.sets[0];
  const Extent map{problem.height, problem.width};
  const bool forward = problem.direction == Direction::forward;
  const int from = problem.source_channels();
  const int to = problem.destination_channels();
  const std::size_t from_size = static_cast<std::size_t>(map.positions()) * from;
  const std::size_t to_size = static_cast<std::size_t>(map.positions()) * to;
  const auto weights = download(set.weights.data(), set.weights.size());
  std::vector<double> bias(to, 0.);
  if (forward) {
    const auto floats = download(set.float_bias.data(), set.float_bias.size());
    const auto stored = download(set.storage_bias.data(), set.storage_bias.size());
    for (int k = 0; k < to; ++k) bias[k] = floats.empty() ? kernels::to_float(stored[k]) : floats[k];
  }
  // Graphs may round between convolution, bias and ReLU.
  const int roundings = variant.name().starts_with("cudnn") ? 3 : 1;
  Places places;
  Comparison comparison;
  for (const int image : checked_images(problem.images)) {
    const auto source = download_image(set.source, image, from_size);
    const auto result = download_image(set.destination, image, to_size);
    const std::vector<bool> open = set.gate_in.open(image, forward ? 0 : to_size);
    const auto bits = download(set.bits_out.data() + (set.bits_out.size() == 0 ? 0 : to_size * image / 32),
                               set.bits_out.size() == 0 ? 0 : to_size / 32);
    const auto bytes = download(set.bytes_out.data() + (set.bytes_out.size() == 0 ? 0 : to_size * image),
                                set.bytes_out.size() == 0 ? 0 : to_size);
    for (int i = 0; i < Places::kCount; ++i) {
      const int y = places.coordinate(map.height);
      const int x = places.coordinate(map.width);
      const int channel = places.any(to);
      const auto weight = [&](int tap, int c) {
        const bool rows_of_destination = forward || variant.weight_layout() == WeightLayout::crsk_rotated;
        const std::size_t at = rows_of_destination
                                   ? (static_cast<std::size_t>(channel) * 9 + tap) * from + c
                                   : (static_cast<std::size_t>(c) * 9 + 8 - tap) * to + channel;
        return kernels::to_float(weights[at]);
      };
      const auto value = [&](int in_y, int in_x, int c) {
        return kernels::to_float(source[(static_cast<std::size_t>(in_y) * map.width + in_x) * from + c]);
      };
      Sum sum = convolve_at(map, y, x, from, value, weight);
      const double product = std::abs(sum.value);
      sum.add(bias[channel]);
      const std::size_t at = (static_cast<std::size_t>(y) * map.width + x) * to + channel;
      const bool closed = !forward && !open[at];
      const double expected = closed ? 0 : forward ? std::max(sum.value, 0.) : sum.value;
      const double tolerance =
          closed ? 0
                 : sum.tolerance(product_error(variant)) +
                       roundings * rounding<T>(roundings == 1 ? expected : product + std::abs(bias[channel]));
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
  const bool forward = problem.direction == Direction::forward;
  const std::size_t positions = std::size_t(problem.images) * problem.height * problem.width;
  const std::size_t from = positions * problem.source_channels();
  const std::size_t to = positions * problem.destination_channels();
  const std::size_t weights = std::size_t{9} * problem.in_channels * problem.out_channels;
  const kernels::GateKind kind = cuda::to_kernel_gate(problem.gate);
  // Forward, the activation is the result itself.
  const std::size_t gate_bytes =
      forward && kind == kernels::GateKind::activation ? 0 : RandomGate<T>::bytes_of(kind, to);
  const std::size_t bytes = (from + to + weights) * sizeof(T) + gate_bytes;

  const auto state = std::make_shared<State<T>>();
  state->workspace = DeviceBuffer<std::byte>(variant->workspace_bytes());
  state->sets.resize(device.sets(bytes));
  for (Buffers<T>& set : state->sets) {
    set.source = random_values<T>(from);
    set.weights = random_values<T>(weights);
    set.destination = poisoned_values<T>(to);
    if (forward && variant->bias_type() == BiasType::fp32) {
      set.float_bias = random_values<float>(problem.out_channels);
    } else if (forward) {
      set.storage_bias = random_values<T>(problem.out_channels);
    }
    if (forward && problem.gate == cuda::Gate::bits) set.bits_out = poisoned_values<std::uint32_t>(to / 32);
    if (forward && problem.gate == cuda::Gate::bytes) set.bytes_out = poisoned_values<std::uint8_t>(to);
    if (!forward) set.gate_in = RandomGate<T>(kind, to);
  }
  const std::string label = variant->name();
  state->variant = std::move(variant);
  return {.work = {.operations = 2. * static_cast<double>(weights) * static_cast<double>(positions),
                   .bytes = static_cast<double>(bytes)},
          .ceilings = device.ceilings(problem.precision),
          .sets = static_cast<int>(state->sets.size()),
          .run =
              [state, forward, &stream = device.stream()](int number) {
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
                     .gate_out = forward ? mask : nullptr,
                     .gate_in = forward ? nullptr : set.gate_in.gate().data,
                     .workspace = state->workspace.data()},
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

void add_own_convolutions(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for (const Direction direction : {Direction::forward, Direction::input_gradient}) {
    for (const Layer& layer : whole_layers(selection.layers)) {
      for (const std::string& precision : selection.precisions) {
        for (const int images : selection.cuda_batches) {
          const bool gated = direction == Direction::forward ? !layer.pool_after : layer.gated_on_cuda;
          const ConvolutionProblem problem{.images = images,
                                           .height = layer.map.height,
                                           .width = layer.map.width,
                                           .in_channels = layer.in_channels,
                                           .out_channels = layer.out_channels,
                                           .precision = parse_precision(precision),
                                           .direction = direction,
                                           .gate = gated ? cuda::Gate::bits : cuda::Gate::none};
          const std::size_t count = cuda::own_variants(problem).size();
          for (std::size_t i = 0; i < count; ++i) {
            std::string kernel = cuda::own_variants(problem)[i]->name();
            kernel = kernel.substr(kernel.find(' ') + 1);
            add(fmt::format("cuda/convolution/{}/{}/{}/{}/batch:{}",
                            direction == Direction::forward ? "forward" : "input_gradient", layer.name,
                            kernel, precision, images),
                device,
                [=] { return convolution_operation(std::move(cuda::own_variants(problem)[i]), *device); });
          }
        }
      }
    }
  }
}

}  // namespace filterscope::bench
