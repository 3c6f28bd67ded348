#pragma once

#include <utility>

#include "../run/precision.h"
#include "convolution.h"
#include "kernels/common/types.h"

namespace filterscope::cuda {

/// Carries the type that maps are stored in, for overload resolution and generic lambdas.
template <class T>
struct Storage {
  using Type = T;
};

/// Calls `function(Storage<T>{})` with the storage type T of `precision` (not automatic).
template <class Function>
decltype(auto) with_storage(Precision precision, Function&& function) {
  switch (precision) {
    case Precision::fp16:
      return function(Storage<kernels::Half>{});
    case Precision::bf16:
      return function(Storage<kernels::Bfloat16>{});
    case Precision::automatic:
    case Precision::fp32:
    case Precision::tf32:
      break;
  }
  return function(Storage<float>{});
}

}  // namespace filterscope::cuda
