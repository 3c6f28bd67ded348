#include "tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "../../base/error.h"

namespace filterscope::weights_formats {

namespace fs = std::filesystem;

std::vector<std::uint64_t> kernel_shape(KernelOrder order, const Convolution& convolution) {
  const auto in = static_cast<std::uint64_t>(convolution.in_channels);
  const auto out = static_cast<std::uint64_t>(convolution.out_channels);
  switch (order) {
    case KernelOrder::oihw:
      return {out, in, 3, 3};
    case KernelOrder::ohwi:
      return {out, 3, 3, in};
    case KernelOrder::hwio:
      break;
  }
  return {3, 3, in, out};
}

std::string order_text(std::span<const std::uint64_t> shape, const Convolution& convolution) {
  using enum KernelOrder;
  for (const auto& [order, text] : {std::pair(hwio, "[3, 3, in, out], the order of TensorFlow"),
                                    std::pair(oihw, "[out, in, 3, 3], the order of Theano and PyTorch"),
                                    std::pair(ohwi, "[out, 3, 3, in], the order of MLX")}) {
    if (std::ranges::equal(shape, kernel_shape(order, convolution))) return text;
  }
  return "";
}

std::vector<float> to_hwio(std::vector<float> values, KernelOrder order, const Convolution& convolution,
                           bool rotated) {
  if (order == KernelOrder::hwio && !rotated) return values;
  const auto in = static_cast<std::size_t>(convolution.in_channels);
  const auto out = static_cast<std::size_t>(convolution.out_channels);
  std::vector<float> hwio(values.size());
  for (std::size_t tap = 0; tap < 9; ++tap) {
    const std::size_t from = rotated ? 8 - tap : tap;
    for (std::size_t i = 0; i < in; ++i) {
      for (std::size_t o = 0; o < out; ++o) {
        const std::size_t source = order == KernelOrder::hwio   ? (from * in + i) * out + o
                                   : order == KernelOrder::oihw ? (o * in + i) * 9 + from
                                                                : (o * 9 + from) * in + i;
        hwio[(tap * in + i) * out + o] = values[source];
      }
    }
  }
  return hwio;
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void require_finite(const fs::path& file, const std::string& layer, std::string_view tensor,
                    std::span<const std::uint64_t> shape, std::span<const float> values) {
  const auto bad = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
  if (bad == values.end()) return;
  std::vector<std::uint64_t> index(shape.size());
  auto rest = static_cast<std::uint64_t>(bad - values.begin());
  for (std::size_t i = shape.size(); i-- > 0;) {
    index[i] = rest % shape[i];
    rest /= shape[i];
  }
  throw Error(
      ErrorKind::input,
      fmt::format(
          "{}: layer {}: {} holds {} at {}; expected finite numbers. The file is damaged or its training "
          "diverged: get it again",
          file.string(), layer, tensor, *bad, shape_text(index)));
}

Layers whole_layers(const fs::path& file, const Network& network, std::vector<PartialLayer> layers,
                    std::span<const std::string> contents) {
  Layers whole(layers.size());
  bool any = false;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    PartialLayer& part = layers[i];
    if (part.kernel.has_value() != part.bias.has_value()) {
      throw Error(
          ErrorKind::input,
          fmt::format("{}: layer {}: expected a kernel and a bias, found only {}; half a layer is of no use",
                      file.string(), network.convolutions[i].name,
                      part.kernel ? part.kernel_name : part.bias_name));
    }
    if (!part.kernel) continue;
    any = true;
    whole[i] = LayerWeights{.kernel = std::move(*part.kernel), .bias = std::move(*part.bias)};
  }
  if (!any) {
    constexpr std::size_t kShown = 5;
    std::string found =
        contents.empty()
            ? "nothing"
            : fmt::format("{}", fmt::join(contents.first(std::min(kShown, contents.size())), ", "));
    if (contents.size() > kShown) found += fmt::format(" and {} more", contents.size() - kShown);
    throw Error(
        ErrorKind::input,
        fmt::format(
            "{}: holds no layer of {}: expected names such as {}, found {}. These are another network's "
            "weights",
            file.string(), network.name, network.convolutions.front().name, found));
  }
  return whole;
}

}  // namespace filterscope::weights_formats
