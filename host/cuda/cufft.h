#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

// The functions of cuFFT that are used. Declared here, as cufft.h has them, and loaded on first use, so that
// neither the build nor the program needs cuFFT, which only some recipes do.

namespace filterscope::cuda {

/// Types are those of cufft.h: cufftHandle and cufftResult are int, enums are passed as int.
struct CufftFunctions {
  static constexpr int kSuccess = 0;
  static constexpr int kAllocationFailed = 2;
  static constexpr int kRealToComplex = 0x2a;
  static constexpr int kComplexToReal = 0x2c;

  int (*create)(int* plan);
  int (*destroy)(int plan);
  int (*set_auto_allocation)(int plan, int automatic);
  int (*make_plan_many)(int plan, int rank, int* sizes, int* in_embed, int in_stride, int in_distance,
                        int* out_embed, int out_stride, int out_distance, int type, int batch,
                        std::size_t* work_bytes);
  int (*set_work_area)(int plan, void* work);
  int (*set_stream)(int plan, cudaStream_t stream);
  int (*execute_real_to_complex)(int plan, float* in, void* out);
  int (*execute_complex_to_real)(int plan, void* in, float* out);
  int (*get_version)(int* version);
};

/// Loads cuFFT; throws a device Error that says what to install if that fails.
const CufftFunctions& cufft();

}  // namespace filterscope::cuda
