#pragma once

#include <string_view>

namespace filterscope::kernels {

/// How a ReLU mask is stored. The mask is active where the ReLU's output is above zero.
enum class MaskFormat {
  none,   ///< No mask: active everywhere.
  bits,   ///< uint32 words [position][channels / 32], bit c % 32 of word c / 32; channels a multiple of 32.
  bytes,  ///< uint8 [position][channels], 0 or 1.
  activation,  ///< The ReLU's output itself, in the compute type, [position][channels].
};

constexpr std::string_view to_string(MaskFormat format) {
  switch (format) {
    case MaskFormat::none:
      break;
    case MaskFormat::bits:
      return "bits";
    case MaskFormat::bytes:
      return "bytes";
    case MaskFormat::activation:
      return "activation";
  }
  return "none";
}

/// The factor of a gradient on its way back through a ReLU: 1 where the mask is active, else 0.
struct ReluMask {
  MaskFormat format = MaskFormat::none;
  const void* data = nullptr;  ///< In device memory; null for none.
};

}  // namespace filterscope::kernels
