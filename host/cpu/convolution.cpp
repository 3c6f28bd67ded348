#include "convolution.h"

#include <fmt/format.h>

#include <algorithm>

namespace filterscope::cpu {

namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;

constexpr bool kVersion3 = DNNL_VERSION_MAJOR >= 3;

memory::desc map_desc(int images, int channels, Extent extent, int block) {
  const auto tag = block == 0          ? memory::format_tag::nchw
                   : block == channels ? memory::format_tag::nhwc
                   : block == 16       ? memory::format_tag::nChw16c
                                       : memory::format_tag::nChw8c;
  return {{images, channels, extent.height, extent.width}, memory::data_type::f32, tag};
}

// Kernel [3, 3, in, out] to oneDNN's plain [out, in, 3, 3] of the pass: as it is, or rotated and transposed.
std::vector<float> plain_kernel(const LayerWeights& weights, int in_channels, int out_channels,
                                bool rotated) {
  std::vector<float> plain(weights.kernel.size());
  std::size_t at = 0;
  for (int tap = 0; tap < 9; ++tap) {
    const int to_tap = rotated ? 8 - tap : tap;
    for (int in = 0; in < in_channels; ++in) {
      for (int out = 0; out < out_channels; ++out, ++at) {
        const std::size_t row = rotated ? static_cast<std::size_t>(in) * out_channels + out
                                        : static_cast<std::size_t>(out) * in_channels + in;
        plain[row * 9 + to_tap] = weights.kernel[at];
      }
    }
  }
  return plain;
}

const memory::dims kOnes{1, 1};

dnnl::convolution_forward::primitive_desc forward_descriptor(
    const dnnl::engine& engine, algorithm kind, const memory::desc& source, const memory::desc& weights,
    const memory::desc* bias, const memory::desc& destination, const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  if (bias != nullptr) {
    return {engine,      prop_kind::forward_inference,
            kind,        source,
            weights,     *bias,
            destination, kOnes,
            kOnes,       kOnes,
            attributes};
  }
  return {engine,    prop_kind::forward_inference, kind, source, weights, destination, kOnes, kOnes, kOnes,
          attributes};
#else
  using Descriptor = dnnl::convolution_forward::desc;
  const Descriptor descriptor = bias != nullptr ? Descriptor(prop_kind::forward_inference, kind, source,
                                                             weights, *bias, destination, kOnes, kOnes, kOnes)
                                                : Descriptor(prop_kind::forward_inference, kind, source,
                                                             weights, destination, kOnes, kOnes, kOnes);
  return {descriptor, attributes, engine};
#endif
}

dnnl::convolution_backward_data::primitive_desc backward_descriptor(
    const dnnl::engine& engine, algorithm kind, const memory::desc& diff_source, const memory::desc& weights,
    const memory::desc& diff_destination, const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::convolution_forward::primitive_desc hint(engine, prop_kind::forward_training,
                                                       algorithm::convolution_direct, diff_source, weights,
                                                       diff_destination, kOnes, kOnes, kOnes);
  return {engine, kind, diff_source, weights, diff_destination, kOnes, kOnes, kOnes, hint, attributes};
#else
  const dnnl::convolution_forward::desc hint_descriptor(prop_kind::forward_training,
                                                        algorithm::convolution_direct, diff_source, weights,
                                                        diff_destination, kOnes, kOnes, kOnes);
  const dnnl::convolution_forward::primitive_desc hint(hint_descriptor, engine);
  const dnnl::convolution_backward_data::desc descriptor(kind, diff_source, weights, diff_destination, kOnes,
                                                         kOnes, kOnes);
  return {descriptor, attributes, engine, hint};
#endif
}

}  // namespace

std::string_view to_string(Pass pass) {
  return pass == Pass::forward ? "forward" : "backward";
}

std::string to_string(const Algorithm& algorithm) {
  return fmt::format("{}{}", algorithm.winograd ? "winograd" : "direct",
                     algorithm.as_forward ? "" : " dgrad");
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

bool onednn_has_winograd() {
  if (kVersion3) return false;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const memory::desc map({1, 64, 24, 24}, memory::data_type::f32, memory::format_tag::any);
  const memory::desc weights({64, 64, 3, 3}, memory::data_type::f32, memory::format_tag::any);
  try {
    forward_descriptor(engine, algorithm::convolution_winograd, map, weights, nullptr, map, {});
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

std::unique_ptr<ConvolutionKernel> ConvolutionKernel::make(const dnnl::engine& engine,
                                                           const ConvolutionShape& shape, Pass pass,
                                                           Algorithm algorithm, const LayerWeights& weights,
                                                           WeightStore& store) {
  const bool forward = pass == Pass::forward;
  const bool rotated = !forward && algorithm.as_forward;
  const auto kind =
      algorithm.winograd ? dnnl::algorithm::convolution_winograd : dnnl::algorithm::convolution_direct;
  const memory::desc below = map_desc(shape.images, shape.in_channels, shape.extent, shape.in_block);
  const memory::desc above = map_desc(shape.images, shape.out_channels, shape.extent, shape.out_block);
  const memory::desc bias({shape.out_channels}, memory::data_type::f32, memory::format_tag::a);
  memory::dims weight_dims{shape.out_channels, shape.in_channels, 3, 3};
  if (rotated) std::swap(weight_dims[0], weight_dims[1]);
  const memory::desc any_weights(weight_dims, memory::data_type::f32, memory::format_tag::any);

  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (forward) {
    dnnl::post_ops relu;
#if DNNL_VERSION_MAJOR >= 3
    relu.append_eltwise(dnnl::algorithm::eltwise_relu, 0.f, 0.f);
#else
    relu.append_eltwise(1.f, dnnl::algorithm::eltwise_relu, 0.f, 0.f);
#endif
    attributes.set_post_ops(relu);
  }

  std::unique_ptr<ConvolutionKernel> kernel(new ConvolutionKernel);
  memory::desc weight_form;
  memory::desc scratch_form;
  try {
    std::string implementation;
    if (algorithm.as_forward) {
      const auto descriptor =
          forward_descriptor(engine, kind, forward ? below : above, any_weights, forward ? &bias : nullptr,
                             forward ? above : below, attributes);
      kernel->primitive_ = dnnl::convolution_forward(descriptor);
      weight_form = descriptor.weights_desc();
      scratch_form = descriptor.scratchpad_desc();
      implementation = descriptor.impl_info_str();
    } else {
      const auto descriptor = backward_descriptor(engine, kind, below, any_weights, above, attributes);
      kernel->primitive_ = dnnl::convolution_backward_data(descriptor);
      weight_form = descriptor.weights_desc();
      scratch_form = descriptor.scratchpad_desc();
      implementation = descriptor.impl_info_str();
    }
    kernel->name_ = fmt::format("{} {}", to_string(algorithm), implementation);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented || error.status == dnnl_invalid_arguments) return nullptr;
    throw;
  }

  kernel->weights_ = store.get(engine, weights, shape.in_channels, shape.out_channels, rotated, weight_form);
  kernel->source_ = memory(forward ? below : above, engine, nullptr);
  kernel->destination_ = memory(forward ? above : below, engine, nullptr);
  kernel->scratch_ = memory(scratch_form, engine, nullptr);
  kernel->scratch_bytes_ = scratch_form.get_size();
  const bool backward_primitive = !algorithm.as_forward;
  kernel->arguments_ = {
      {backward_primitive ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, kernel->source_.get()},
      {DNNL_ARG_WEIGHTS, kernel->weights_->get()},
      {backward_primitive ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, kernel->destination_.get()},
      {DNNL_ARG_SCRATCHPAD, kernel->scratch_.get()},
  };
  if (forward) {
    kernel->bias_ = memory(bias, engine, const_cast<float*>(weights.bias.data()));
    kernel->arguments_.push_back({DNNL_ARG_BIAS, kernel->bias_.get()});
  }
  return kernel;
}

void ConvolutionKernel::execute(const dnnl::stream& stream, const float* source, float* destination,
                                std::byte* scratch) {
  source_.set_data_handle(const_cast<float*>(source));
  destination_.set_data_handle(destination);
  scratch_.set_data_handle(scratch);
  dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive_.get(), stream.get(),
                                                 static_cast<int>(arguments_.size()), arguments_.data()),
                          "could not run a convolution");
}

std::shared_ptr<dnnl::memory> WeightStore::get(const dnnl::engine& engine, const LayerWeights& weights,
                                               int in_channels, int out_channels, bool rotated,
                                               const memory::desc& wanted) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.memory.expired(); });
  for (const Entry& entry : entries_) {
    if (entry.weights == &weights && entry.rotated == rotated && entry.form == wanted)
      return entry.memory.lock();
  }
  std::vector<float> plain = plain_kernel(weights, in_channels, out_channels, rotated);
  memory::dims dims{out_channels, in_channels, 3, 3};
  if (rotated) std::swap(dims[0], dims[1]);
  memory from({dims, memory::data_type::f32, memory::format_tag::oihw}, engine, plain.data());
  auto to = std::make_shared<memory>(wanted, engine);
  dnnl::stream stream(engine);
  dnnl::reorder(from, *to).execute(stream, from, *to);
  stream.wait();
  entries_.push_back({&weights, rotated, wanted, to});
  return to;
}

}  // namespace filterscope::cpu
