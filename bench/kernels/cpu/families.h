#pragma once

#include <memory>

#include "../layers.h"
#include "device.h"

/// The CPU's benchmarks, a file for each family. Names are cpu/OPERATION/LAYER/.../batch:N.
namespace filterscope::bench {

/// What the device is capable of: rows that show how steady the ceilings of the shares are.
void add_cpu_ceilings(const std::shared_ptr<CpuDevice>& device);
/// Whole convolutions (host/cpu/convolution.h).
void add_cpu_convolutions(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// The steps that they consist of (host/cpu/kernels.h).
void add_cpu_winograd_steps(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// The filter head, forward and back.
void add_cpu_filter_heads(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// Noise, normalised step and picture (host/ascent/ascent.h).
void add_cpu_ascent(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// Whole iterations of the engine.
void add_cpu_iterations(const Selection& selection, const std::shared_ptr<CpuDevice>& device);
/// oneDNN's convolutions, where it is installed.
void add_onednn(const Selection& selection, const std::shared_ptr<CpuDevice>& device);

}  // namespace filterscope::bench
