#include "backend.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>

#include "check.h"
#include "cudnn_convolution.h"
#include "cudnn_graph.h"
#include "own_convolution.h"
#include "plan_cache.h"

namespace filterscope::cuda {

namespace {

// Plans hold for one kind of device and one version of what runs them.
PlanCache::Environment environment(int index) {
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
          {"cuDNN", cudnn_version()}};
}

// The cache must outlive what uses it.
struct Cudnn {
  PlanCache cache;
  CudnnConvolutions convolutions;

  Cudnn(int index, bool reproducible)
      : cache(reproducible ? std::filesystem::path() : cache_folder(), environment(index)),
        convolutions({.reproducible = reproducible, .cache = &cache}) {}
  ~Cudnn() { cache.save(); }
};

}  // namespace

CudaBackend make_backend(int index, bool reproducible) {
  check(cudaSetDevice(index), "--device cuda:{}", index);
  const auto cudnn = std::make_shared<Cudnn>(index, reproducible);
  const auto of_cudnn = [cudnn](const ConvolutionProblem& problem) {
    auto variants = cudnn->convolutions.variants(problem);
    cudnn->cache.save();
    return variants;
  };
  const auto find = [cudnn](const std::string& key) -> std::optional<double> {
    const PlanCache::Entry* const known = cudnn->cache.find(key);
    return known == nullptr ? std::nullopt : std::optional(known->milliseconds);
  };
  const auto store = [cudnn](const std::string& key, double milliseconds) {
    cudnn->cache.store(key, {.plan = "itself", .milliseconds = milliseconds});
  };
  return {.device = index,
          .sources = {of_cudnn, own_variants},
          .rule = reproducible ? PlanRule::fixed : PlanRule::timed,
          .timings = {find, store},
          .libraries = library_versions()};
}

}  // namespace filterscope::cuda
