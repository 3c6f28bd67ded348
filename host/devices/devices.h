#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../run/device_info.h"
#include "../run/renderer.h"

namespace filterscope {

/// A renderer with the engine for `options.device`. It keeps references to `network` and `weights`. What no
/// engine can do, such as 0 iterations, is a usage Error; a device or a precision that cannot be had is a
/// device Error, but `auto` takes the CPU where no GPU can be used, and then `why_not_gpu`, if given, tells
/// why, as the end of a sentence.
std::unique_ptr<Renderer> make_renderer(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RenderOptions& options, std::string* why_not_gpu = nullptr);

std::vector<DeviceInfo> list_devices();
/// The id of the usable GPU in `devices` for the process with this rank on the machine, from 0: processes
/// take the GPUs in turn, and start again with the first after the last. Nothing if no GPU is usable.
std::optional<std::string> gpu_of_rank(std::span<const DeviceInfo> devices, int local_rank);
/// What `--device auto` means here.
struct DeviceChoice {
  std::string id;
  std::string reason;  ///< Why it is not a GPU, as the end of a sentence; empty if it is one.
};
DeviceChoice default_device(int local_rank = 0);
/// What the engines use.
Libraries library_versions();
/// What `info` tells of GPUs besides; nothing in a build without CUDA.
struct GpuFacts {
  Libraries libraries;  ///< The driver's release and the cuDNN that is loaded, or why there is none.
  /// For each usable GPU, by its id: where kernel timings are stored, and how many earlier runs have left.
  std::vector<std::pair<std::string, std::string>> timings;
};
GpuFacts gpu_facts();

}  // namespace filterscope
