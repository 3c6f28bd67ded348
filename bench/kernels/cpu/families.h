#pragma once

#include <memory>

#include "../layers.h"
#include "device.h"

/// The benchmarks of the CPU, one file per family. Names are cpu/OPERATION/LAYER/.../batch:N.
namespace filterscope::bench {

/// The device's peaks, in rows that show how steady they are.
void add_cpu_ceilings(const std::shared_ptr<CpuDevice>& device);
/// Whole convolutions (host/cpu/convolution.h).
void add_cpu_convolutions(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// The steps of convolutions (host/cpu/kernels.h).
void add_cpu_winograd_steps(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// The filter head, forward and backward.
void add_cpu_filter_heads(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// Noise, normalised step and picture (host/ascent/operations).
void add_cpu_ascent(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// Whole iterations of the engine.
void add_cpu_iterations(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// oneDNN's convolutions, if it is installed.
void add_onednn(const Selection& selection, const std::shared_ptr<CpuDevice>& device);

}  // namespace filterscope::bench
