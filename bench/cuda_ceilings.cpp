#include "cuda_ceilings.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <type_traits>

#include "copy.h"
#include "host/base/error.h"
#include "host/cuda/convolution.h"
#include "host/cuda/plan/timing.h"

namespace filterscope::bench {

using namespace cuda;

namespace {

void check_lt(cublasStatus_t status, const char* attempted) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::device, fmt::format("cuBLASLt, {}: {}", attempted, cublasLtGetStatusString(status)));
}

template <auto Destroy>
struct Destroyer {
  template <class T>
  void operator()(T* object) const {
    Destroy(object);
  }
};
template <class T, auto Destroy>
using Handle = std::unique_ptr<std::remove_pointer_t<T>, Destroyer<Destroy>>;

}  // namespace

double copy_bandwidth(const Stream& stream) {
  const std::size_t bytes = std::size_t{1} << 30;
  const std::size_t words = bytes / sizeof(std::uint32_t);
  const DeviceBuffer<std::byte> from = random_values(words, Precision::fp32);
  const DeviceBuffer<std::byte> to(bytes);
  const auto by_threads = [&] {
    copy_words(reinterpret_cast<const std::uint32_t*>(from.data()),
               reinterpret_cast<std::uint32_t*>(to.data()), words, stream);
  };
  const auto by_runtime = [&] {
    check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream),
          "copying on the device");
  };
  check(cudaMemsetAsync(to.data(), 0xff, bytes, stream), "filling device memory");
  by_threads();
  stream.synchronise();
  if (to_host(to.data(), bytes) != to_host(from.data(), bytes))
    throw Error(ErrorKind::device, "a copy on the device differs from its source");
  const double milliseconds =
      std::min(device_milliseconds(stream, by_threads), device_milliseconds(stream, by_runtime));
  return 2 * static_cast<double>(bytes) / milliseconds * 1e3;
}

double matrix_product(Precision precision, const Stream& stream) {
  constexpr int kSize = 8192;
  constexpr std::size_t kWorkspace = std::size_t{64} << 20;
  const cudaDataType type = precision == Precision::bf16   ? CUDA_R_16BF
                            : precision == Precision::fp16 ? CUDA_R_16F
                                                           : CUDA_R_32F;
  const cublasComputeType_t compute =
      precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  cublasLtHandle_t raw_handle = nullptr;
  check_lt(cublasLtCreate(&raw_handle), "creating a handle");
  const Handle<cublasLtHandle_t, cublasLtDestroy> handle(raw_handle);
  cublasLtMatmulDesc_t raw_product = nullptr;
  check_lt(cublasLtMatmulDescCreate(&raw_product, compute, CUDA_R_32F), "describing a product");
  const Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> product(raw_product);
  const cublasOperation_t transpose = CUBLAS_OP_T;
  check_lt(cublasLtMatmulDescSetAttribute(product.get(), CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                          sizeof(transpose)),
           "describing a product");
  cublasLtMatrixLayout_t raw_layout = nullptr;
  check_lt(cublasLtMatrixLayoutCreate(&raw_layout, type, kSize, kSize, kSize), "describing a matrix");
  const Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> layout(raw_layout);
  cublasLtMatmulPreference_t raw_preference = nullptr;
  check_lt(cublasLtMatmulPreferenceCreate(&raw_preference), "asking for algorithms");
  const Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference(raw_preference);
  check_lt(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &kWorkspace, sizeof(kWorkspace)),
           "asking for algorithms");
  std::array<cublasLtMatmulHeuristicResult_t, 8> algorithms{};
  int count = 0;
  check_lt(cublasLtMatmulAlgoGetHeuristic(handle.get(), product.get(), layout.get(), layout.get(),
                                          layout.get(), layout.get(), preference.get(),
                                          static_cast<int>(algorithms.size()), algorithms.data(), &count),
           "asking for algorithms");
  if (count == 0) throw Error(ErrorKind::device, "cuBLASLt has no algorithm for the matrix product");
  const std::size_t size = std::size_t{kSize} * kSize;
  const DeviceBuffer<std::byte> a = random_values(size, precision);
  const DeviceBuffer<std::byte> b = random_values(size, precision);
  const DeviceBuffer<std::byte> c(size * storage_bytes(precision));
  const DeviceBuffer<std::byte> workspace(kWorkspace);
  const float one = 1;
  const float zero = 0;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < count; ++i) {
    const double milliseconds = device_milliseconds(stream, [&] {
      check_lt(cublasLtMatmul(handle.get(), product.get(), &one, a.data(), layout.get(), b.data(),
                              layout.get(), &zero, c.data(), layout.get(), c.data(), layout.get(),
                              &algorithms[i].algo, workspace.data(), kWorkspace, stream),
               "multiplying");
    });
    best = std::min(best, milliseconds);
  }
  return 2. * kSize * static_cast<double>(size) / best * 1e3;
}

}  // namespace filterscope::bench
