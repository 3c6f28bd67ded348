#pragma once

namespace filterscope::kernels {

/// How it is kept where a ReLU was open, that is, where its output is above zero.
enum class GateKind {
  none,   ///< Open everywhere.
  bits,   ///< uint32 words [position][channels / 32], bit c % 32 of word c / 32; channels a multiple of 32.
  bytes,  ///< uint8 [position][channels], 0 or 1.
  activation,  ///< The ReLU's output itself, in the compute type, [position][channels].
};

/// What a gradient is multiplied with on its way down through a ReLU: 1 where it was open, else 0.
struct Gate {
  GateKind kind = GateKind::none;
  const void* data = nullptr;  ///< In device memory; null for none.
};

}  // namespace filterscope::kernels
