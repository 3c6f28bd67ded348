#include "backend.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../base/error.h"
#include "check.h"
#include "cudnn/convolution.h"
#include "cudnn/graph.h"
#include "devices.h"
#include "fourier.h"
#include "native_convolution.h"
#include "plan/plan_cache.h"

namespace filterscope::cuda {

namespace {

// Timings are valid for one kind of device and one version of the software that runs on it.
PlanCache::Environment environment(int index, const std::string& cudnn) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for the properties of cuda:{}", index);
  int driver = 0;
  int runtime = 0;
  check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  check(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
  return {{"device", properties.name},
          {"compute capability", fmt::format("{}.{}", properties.major, properties.minor)},
          {"driver", std::to_string(driver)},
          {"runtime", std::to_string(runtime)},
          {"cuDNN", cudnn},
          {"kernels", FILTERSCOPE_KERNELS}};
}

// In this order: the cache must outlive its users.
struct Choices {
  PlanCache cache;
  std::optional<CudnnConvolutions> cudnn;

  Choices(bool reproducible, PlanCache::Environment environment)
      : cache(reproducible ? std::filesystem::path() : cache_folder(), std::move(environment)) {}
  ~Choices() { cache.save(); }
};

std::string description_of(std::string (*version)()) {
  try {
    return version();
  } catch (const Error& error) {
    return fmt::format("none: {}", error.what());
  }
}

}  // namespace

std::string cudnn_description() {
  return description_of(cudnn_version);
}

std::string cufft_description() {
  return description_of(cufft_version);
}

std::string plan_cache_description(int index) {
  std::string cudnn = "none";
  try {
    cudnn = cudnn_version();
  } catch (const Error&) {
  }
  return PlanCache(cache_folder(), environment(index, cudnn)).describe();
}

CudaBackend make_backend(int index, bool reproducible) {
  check(cudaSetDevice(index), "--device cuda:{}", index);
  std::string cudnn = "none";
  std::string missing;
  try {
    cudnn = cudnn_version();
  } catch (const Error& error) {
    missing = error.what();
  }
  const auto choices = std::make_shared<Choices>(reproducible, environment(index, cudnn));
  const auto of_cudnn = [choices](const ConvolutionProblem& problem, PlanSearch search,
                                  const TimingBudget& has_time) {
    auto variants = choices->cudnn->variants(problem, search, has_time);
    choices->cache.save();
    return variants;
  };
  const auto find = [choices](const std::string& key) -> std::optional<double> {
    const PlanCache::Entry* const known = choices->cache.find(key);
    return known == nullptr ? std::nullopt : std::optional(known->milliseconds);
  };
  const auto store = [choices](const std::string& key, double milliseconds) {
    choices->cache.store(key, {.plan = "itself", .milliseconds = milliseconds, .setup_seconds = 0});
  };
  // The project's kernels come first where nothing is timed: they fuse masks, and their results do not depend
  // on the version of cuDNN.
  std::vector<ConvolutionSource> sources{native_variants};
  if (missing.empty()) {
    choices->cudnn.emplace(CudnnOptions{.cache = &choices->cache});
    sources.emplace_back(of_cudnn);
  }
  return {.device = index,
          .sources = std::move(sources),
          .rule = reproducible ? PlanRule::fixed : PlanRule::timed,
          .timings = {find, store},
          .libraries = {{"CUDA", cuda_runtime_description()}, {"cuDNN", cudnn}},
          .missing = std::move(missing)};
}

}  // namespace filterscope::cuda
