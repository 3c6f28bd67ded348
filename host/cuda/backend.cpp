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

// Plans hold for one kind of device and one version of what runs on it.
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
          {"cuDNN", cudnn_version()},
          {"kernels", FILTERSCOPE_KERNELS}};
}

// The cache must outlive what uses it.
struct Cudnn {
  PlanCache cache;
  CudnnConvolutions convolutions;

  Cudnn(int index, bool reproducible)
      : cache(reproducible ? std::filesystem::path() : cache_folder(), environment(index)),
        convolutions({.cache = &cache}) {}
  ~Cudnn() { cache.save(); }
};

}  // namespace

CudaBackend make_backend(int index, bool reproducible) {
  check(cudaSetDevice(index), "--device cuda:{}", index);
  const auto cudnn = std::make_shared<Cudnn>(index, reproducible);
  const auto of_cudnn = [cudnn](const ConvolutionProblem& problem, PlanSearch search,
                                const MayTime& may_time) {
    auto variants = cudnn->convolutions.variants(problem, search, may_time);
    cudnn->cache.save();
    return variants;
  };
  const auto find = [cudnn](const std::string& key) -> std::optional<double> {
    const PlanCache::Entry* const known = cudnn->cache.find(key);
    return known == nullptr ? std::nullopt : std::optional(known->milliseconds);
  };
  const auto store = [cudnn](const std::string& key, double milliseconds) {
    cudnn->cache.store(key, {.plan = "itself", .milliseconds = milliseconds, .setup_seconds = 0});
  };
  Libraries libraries = library_versions();
  libraries.emplace_back("cuDNN", cudnn_version());
  // Where nothing is timed the project's own kernels go first: they fuse masks, and give the same bits
  // whichever cuDNN is loaded.
  return {.device = index,
          .sources = {own_variants, of_cudnn},
          .rule = reproducible ? PlanRule::fixed : PlanRule::timed,
          .timings = {find, store},
          .libraries = std::move(libraries)};
}

}  // namespace filterscope::cuda
