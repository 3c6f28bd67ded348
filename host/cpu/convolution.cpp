#include "convolution.h"

#include <fmt/format.h>

#include <algorithm>

namespace filterscope::cpu {

namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;

memory::desc map_desc(int images, int channels, Extent extent, int block) {
  const auto tag = block == 0          ? memory::format_tag::nchw
                   : block == channels ? memory::format_tag::nhwc
                   : block == 16       ? memory::format_tag::nChw16c
                                       : memory::format_tag::nChw8c;
  return {{images, channels, extent.height, extent.width}, memory::data_type::f32, tag};
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

std::unique_ptr<ConvolutionKernel> ConvolutionKernel::make_bare(const dnnl::engine& engine,
                                                                const ConvolutionShape& shape, Pass pass,
                                                                Algorithm algorithm,
                                                                memory::desc& weight_form) {
  const bool forward = pass == Pass::forward;
  const auto kind =
      algorithm.winograd ? dnnl::algorithm::convolution_winograd : dnnl::algorithm::convolution_direct;
  const memory::desc below = map_desc(shape.images, shape.in_channels, shape.extent, shape.in_block);
  const memory::desc above = map_desc(shape.images, shape.out_channels, shape.extent, shape.out_block);
  const memory::desc bias({shape.out_channels}, memory::data_type::f32, memory::format_tag::a);
  memory::dims weight_dims{shape.out_channels, shape.in_channels, 3, 3};
  if (!forward && algorithm.as_forward) std::swap(weight_dims[0], weight_dims[1]);
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
  const auto adopt = [&](const auto& descriptor, auto primitive) {
    kernel->primitive_ = std::move(primitive);
    weight_form = descriptor.weights_desc();
    kernel->scratch_ = memory(descriptor.scratchpad_desc(), engine, nullptr);
    kernel->scratch_bytes_ = descriptor.scratchpad_desc().get_size();
    kernel->name_ = fmt::format("{} {}", to_string(algorithm), descriptor.impl_info_str());
  };
  try {
    if (algorithm.as_forward) {
      const auto descriptor =
          forward_descriptor(engine, kind, forward ? below : above, any_weights, forward ? &bias : nullptr,
                             forward ? above : below, attributes);
      adopt(descriptor, dnnl::convolution_forward(descriptor));
    } else {
      const auto descriptor = backward_descriptor(engine, kind, below, any_weights, above, attributes);
      adopt(descriptor, dnnl::convolution_backward_data(descriptor));
    }
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented || error.status == dnnl_invalid_arguments) return nullptr;
    throw;
  }
  kernel->backward_primitive_ = !algorithm.as_forward;
  kernel->source_ = memory(forward ? below : above, engine, nullptr);
  kernel->destination_ = memory(forward ? above : below, engine, nullptr);
  if (forward) kernel->bias_ = memory(bias, engine, nullptr);
  return kernel;
}

void ConvolutionKernel::bind(std::shared_ptr<memory> weights, const float* bias) {
  weights_ = std::move(weights);
  arguments_ = {
      {backward_primitive_ ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, source_.get()},
      {DNNL_ARG_WEIGHTS, weights_->get()},
      {backward_primitive_ ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, destination_.get()},
      {DNNL_ARG_SCRATCHPAD, scratch_.get()},
  };
  if (bias_) {
    bias_.set_data_handle(const_cast<float*>(bias));
    arguments_.push_back({DNNL_ARG_BIAS, bias_.get()});
  }
}

std::unique_ptr<ConvolutionKernel> ConvolutionKernel::make(const dnnl::engine& engine,
                                                           const ConvolutionShape& shape, Pass pass,
                                                           Algorithm algorithm, const LayerWeights& weights,
                                                           WeightStore& store) {
  memory::desc weight_form;
  auto kernel = make_bare(engine, shape, pass, algorithm, weight_form);
  if (!kernel) return nullptr;
  const bool rotated = pass == Pass::backward && algorithm.as_forward;
  kernel->bind(store.get(engine, weights, shape.in_channels, shape.out_channels, rotated, weight_form),
               weights.bias.data());
  return kernel;
}

std::unique_ptr<ConvolutionKernel> ConvolutionKernel::make_for_timing(const dnnl::engine& engine,
                                                                      const ConvolutionShape& shape,
                                                                      Pass pass, Algorithm algorithm) {
  memory::desc weight_form;
  auto kernel = make_bare(engine, shape, pass, algorithm, weight_form);
  if (!kernel) return nullptr;
  auto weights = std::make_shared<memory>(weight_form, engine);
  std::fill_n(static_cast<float*>(weights->get_data_handle()), weight_form.get_size() / sizeof(float), 0.01f);
  kernel->timing_bias_.assign(shape.out_channels, 0.01f);
  kernel->bind(std::move(weights), kernel->timing_bias_.data());
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
  // Keras' [3, 3, in, out] is oneDNN's hwio. Rotated by 180 degrees the taps come in opposite order, and
  // input and output channels change places.
  std::vector<float> rotated_kernel;
  memory::dims dims{out_channels, in_channels, 3, 3};
  if (rotated) {
    std::swap(dims[0], dims[1]);
    const std::size_t tap_size = static_cast<std::size_t>(in_channels) * out_channels;
    rotated_kernel.resize(9 * tap_size);
    for (std::size_t tap = 0; tap < 9; ++tap) {
      const float* row = weights.kernel.data() + (8 - tap) * tap_size;
      for (int in = 0; in < in_channels; ++in, row += out_channels) {
        float* column = rotated_kernel.data() + tap * tap_size + in;
        for (int out = 0; out < out_channels; ++out)
          column[static_cast<std::size_t>(out) * in_channels] = row[out];
      }
    }
  }
  memory from({dims, memory::data_type::f32, memory::format_tag::hwio}, engine,
              rotated ? rotated_kernel.data() : const_cast<float*>(weights.kernel.data()));
  auto to = std::make_shared<memory>(wanted, engine);
  dnnl::stream stream(engine);
  dnnl::reorder(from, *to).execute(stream, from, *to);
  stream.wait();
  entries_.push_back({&weights, rotated, wanted, to});
  return to;
}

}  // namespace filterscope::cpu
