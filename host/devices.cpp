#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "cpu/convolution.h"
#include "engine.h"
#include "engine_cpu.h"
#include "error.h"
#if defined(FILTERSCOPE_WITH_CUDA)
#include "cuda_devices.h"
#endif

namespace filterscope {

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices{cpu_device()};
#if defined(FILTERSCOPE_WITH_CUDA)
  for (const CudaDevice& device : cuda_devices()) {
    devices.push_back(
        {.id = fmt::format("cuda:{}", device.index),
         .name = device.name,
         .usable = false,
         .remark =
             fmt::format("compute capability {}.{}, {:.0f} GiB; this version renders on the CPU only",
                         device.major, device.minor, static_cast<double>(device.memory_bytes) / (1 << 30))});
  }
#endif
  return devices;
}

std::string default_device() {
  return "cpu";
}

Libraries library_versions() {
  Libraries versions{{"oneDNN", cpu::onednn_version()}};
#if defined(FILTERSCOPE_WITH_CUDA)
  versions.emplace_back("CUDA", cuda_runtime_description());
#endif
  return versions;
}

std::unique_ptr<Engine> make_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                    const RenderOptions& options) {
  const std::string& device = options.device;
  if (device == "auto" || device == "cpu") return make_cpu_engine(network, weights, recipe, options);
  if (device == "cuda" || device.starts_with("cuda:")) {
    std::vector<std::string> usable;
    for (const DeviceInfo& known : list_devices()) {
      if (known.usable) usable.push_back(known.id);
    }
    throw Error(
        ErrorKind::device,
        fmt::format("--device {}: this version of filterscope renders on the CPU only; usable here: {}",
                    device, fmt::join(usable, ", ")));
  }
  throw Error(ErrorKind::usage, fmt::format("--device {}: expected auto, cpu, cuda or cuda:N", device));
}

}  // namespace filterscope
