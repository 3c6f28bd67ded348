#pragma once

// The platform of device code: CUDA's headers or, where FILTERSCOPE_EMULATED is defined, a stand-in for the
// part of them that the kernels use. With it the host compiler builds the same sources, so that they run and
// are checked without a GPU.
#if defined(FILTERSCOPE_EMULATED)
#include "emulation/device.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/// An array in shared memory, 16-byte aligned, one per block. A macro, since a template cannot declare
/// storage; in the emulation the array checks its indices.
#define FILTERSCOPE_SHARED(Type, name, count) __shared__ __align__(16) Type name[count]
/// The dynamic shared memory of the launch as an array, 1024-byte aligned. One per kernel.
#define FILTERSCOPE_DYNAMIC_SHARED(Type, name)                                  \
  extern __shared__ __align__(1024) unsigned char filterscope_dynamic_shared[]; \
  Type* const name = reinterpret_cast<Type*>(filterscope_dynamic_shared)
#endif
