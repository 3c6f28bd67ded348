#include "devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "../base/error.h"
#include "../cpu/convolution.h"
#include "../cpu/engine.h"
#include "../run/validation.h"
#if defined(FILTERSCOPE_WITH_CUDA)
#include "../cuda/backend.h"
#include "../cuda/devices.h"
#include "../cuda/engine.h"
#endif

namespace filterscope {

namespace {

constexpr std::string_view kCudaPrefix = "cuda:";

std::string usable_devices() {
  std::vector<std::string> usable;
  for (const DeviceInfo& known : list_devices()) {
    if (known.usable) usable.push_back(known.id);
  }
  return fmt::format("{}", fmt::join(usable, ", "));
}

#if defined(FILTERSCOPE_WITH_CUDA)

// The number in "cuda:N", 0 for "cuda", nothing for anything else.
std::optional<int> cuda_index(std::string_view device) {
  if (device == "cuda") return 0;
  if (!device.starts_with(kCudaPrefix)) return std::nullopt;
  device.remove_prefix(kCudaPrefix.size());
  int index = 0;
  const auto [end, error] = std::from_chars(device.data(), device.data() + device.size(), index);
  if (error != std::errc{} || end != device.data() + device.size() || index < 0) return std::nullopt;
  return index;
}

// fp16 rounds eight times finer than bf16 at the same speed; on an H200, tf32 takes 2.5 times as long and
// fp32 8 times. With real weights (blocks 1 and 2), final losses in fp16 agree with the CPU's within 0.4 %,
// as do those in tf32 (bench/results/cuda-h200.md). Gradients are scaled to stay within fp16's range.
Precision resolved(Precision precision) {
  return precision == Precision::automatic ? Precision::fp16 : precision;
}

std::unique_ptr<Engine> make_cuda_engine_on(int index, const Network& network, const Weights& weights,
                                            const Recipe& recipe, RenderOptions options) {
  options.precision = resolved(options.precision);
  return make_cuda_engine(network, weights, recipe, options, cuda::make_backend(index, options.reproducible));
}

#endif

}  // namespace

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices{cpu_device()};
#if defined(FILTERSCOPE_WITH_CUDA)
  for (const CudaDevice& device : cuda_devices()) {
    devices.push_back({.id = fmt::format("{}{}", kCudaPrefix, device.index),
                       .name = device.name,
                       .usable = device.usable,
                       .remark = device.remark});
  }
#endif
  return devices;
}

std::optional<std::string> gpu_of_rank(std::span<const DeviceInfo> devices, int local_rank) {
  std::vector<std::string> usable;
  for (const DeviceInfo& device : devices) {
    if (device.usable && device.id.starts_with(kCudaPrefix)) usable.push_back(device.id);
  }
  if (usable.empty()) return std::nullopt;
  return usable[static_cast<std::size_t>(local_rank) % usable.size()];
}

DeviceChoice default_device([[maybe_unused]] int local_rank) {
#if defined(FILTERSCOPE_WITH_CUDA)
  if (const auto gpu = gpu_of_rank(list_devices(), local_rank)) return {.id = *gpu, .reason = {}};
  return {.id = "cpu", .reason = why_no_cuda()};
#else
  return {.id = "cpu", .reason = "this build has no CUDA"};
#endif
}

Libraries library_versions() {
  Libraries versions;
#if defined(FILTERSCOPE_WITH_CUDA)
  versions.emplace_back("CUDA", cuda_runtime_description());
#endif
  return versions;
}

GpuFacts gpu_facts() {
  GpuFacts facts;
#if defined(FILTERSCOPE_WITH_CUDA)
  facts.libraries = {{"NVIDIA driver", nvidia_driver_release()},
                     {"cuDNN", cuda::cudnn_description()},
                     {"cuFFT", cuda::cufft_description()}};
  for (const CudaDevice& device : cuda_devices()) {
    if (!device.usable) continue;
    std::string timings;
    try {
      timings = cuda::plan_cache_description(device.index);
    } catch (const Error& error) {
      timings = error.what();
    }
    facts.timings.emplace_back(fmt::format("{}{}", kCudaPrefix, device.index), std::move(timings));
  }
#endif
  return facts;
}

namespace {

std::unique_ptr<Engine> make_engine(const Network& network, const Weights& weights, const Recipe& recipe,
                                    const RenderOptions& options, std::string* why_not_gpu) {
  if (options.device == "auto") {
    DeviceChoice choice = default_device(options.local_rank);
    RenderOptions chosen = options;
    chosen.device = choice.id;
    if (choice.id != "cpu") {
      try {
        return make_engine(network, weights, recipe, chosen, nullptr);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::device) throw;
        choice.reason = error.what();
        chosen.device = "cpu";
      }
    }
    if (why_not_gpu != nullptr) *why_not_gpu = std::move(choice.reason);
    return make_engine(network, weights, recipe, chosen, nullptr);
  }
  const std::string& device = options.device;
  if (device == "cpu") return make_cpu_engine(network, weights, recipe, options);
  if (device != "cuda" && !device.starts_with(kCudaPrefix)) {
    throw Error(ErrorKind::usage, fmt::format("--device {}: expected auto, cpu, cuda or cuda:N", device));
  }
#if defined(FILTERSCOPE_WITH_CUDA)
  const std::optional<int> index = cuda_index(device);
  if (!index)
    throw Error(ErrorKind::usage, fmt::format("--device {}: expected auto, cpu, cuda or cuda:N", device));
  const std::vector<DeviceInfo> devices = list_devices();
  std::string id = fmt::format("{}{}", kCudaPrefix, *index);
  if (device == "cuda") id = gpu_of_rank(devices, options.local_rank).value_or(id);
  for (const DeviceInfo& known : devices) {
    if (known.id != id) continue;
    if (known.usable) return make_cuda_engine_on(cuda_index(id).value(), network, weights, recipe, options);
    throw Error(ErrorKind::device, fmt::format("--device {}: {} cannot be used: {}; usable here: {}", device,
                                               known.name, known.remark, usable_devices()));
  }
  const std::string reason = why_no_cuda();
  throw Error(ErrorKind::device,
              fmt::format("--device {}: {}; usable here: {}", device,
                          reason.empty() ? "there is no such GPU" : reason, usable_devices()));
#else
  throw Error(
      ErrorKind::device,
      fmt::format("--device {}: this build has no CUDA: nvcc or cuDNN was not found when it was configured; "
                  "usable here: {}",
                  device, usable_devices()));
#endif
}

}  // namespace

std::unique_ptr<Renderer> make_renderer(const Network& network, const Weights& weights, const Recipe& recipe,
                                        const RenderOptions& options, std::string* why_not_gpu) {
  const Recipe resolved = with_input_of(recipe, weights);
  require_settings(network, resolved, options);
  return std::make_unique<Renderer>(network, weights, resolved, options,
                                    make_engine(network, weights, resolved, options, why_not_gpu));
}

}  // namespace filterscope
