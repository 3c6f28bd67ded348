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

/// A renderer with the engine for `options.device`. It keeps references to `network` and `weights`. Throws a
/// usage Error for what no engine can do, such as 0 iterations, and a device Error if the device or the
/// precision is not available. But `auto` takes the CPU if no GPU can be used, and sets `why_not_gpu`, unless
/// null, to the reason, as the end of a sentence.
std::unique_ptr<Renderer> make_renderer(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RenderOptions& options, std::string* why_not_gpu = nullptr);

std::vector<DeviceInfo> list_devices();
/// The id of the usable GPU in `devices` for the process with this rank on the machine, from 0: processes
/// take the GPUs in turn, starting over after the last one. Nothing if no GPU is usable.
std::optional<std::string> gpu_of_rank(std::span<const DeviceInfo> devices, int local_rank);
/// The device that `--device auto` means on this machine.
struct DeviceChoice {
  std::string id;
  std::string reason;  ///< Why it is not a GPU, as the end of a sentence; empty if it is one.
};
DeviceChoice default_device(int local_rank = 0);
/// The libraries that the engines use.
Libraries library_versions();
/// What else `info` prints about GPUs; empty in a build without CUDA.
struct GpuFacts {
  Libraries libraries;  ///< The driver's release, and the version of cuDNN or why it was not loaded.
  /// For each usable GPU, by its id: where kernel timings are stored, and how many there are.
  std::vector<std::pair<std::string, std::string>> timings;
};
GpuFacts gpu_facts();

}  // namespace filterscope
