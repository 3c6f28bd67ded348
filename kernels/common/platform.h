#pragma once

// What device code is written against: CUDA's headers, or, where FILTERSCOPE_EMULATED is defined, a stand-in
// for the part of them that the kernels use, with which the host compiler builds the same sources so that
// they run, and are checked, without a GPU.
#if defined(FILTERSCOPE_EMULATED)
#include "emulation/device.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/// An array in shared memory, 16-byte aligned, one per block. A macro since storage cannot come from a
/// template; in the emulation the array checks its indices.
#define FILTERSCOPE_SHARED(Type, name, count) __shared__ __align__(16) Type name[count]
/// The dynamic shared memory of the launch as an array, 1024-byte aligned. One per kernel.
#define FILTERSCOPE_DYNAMIC_SHARED(Type, name)                                  \
  extern __shared__ __align__(1024) unsigned char filterscope_dynamic_shared[]; \
  Type* const name = reinterpret_cast<Type*>(filterscope_dynamic_shared)
#endif
