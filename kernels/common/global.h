#pragma once

#include <cstdint>
#include <type_traits>

#include "types.h"

namespace filterscope::kernels {

/// A kernel's view of an array in device memory. Kernels access global memory only through it. On a device it
/// costs nothing; the emulation checks each access against the allocation that the pointer lies in, and its
/// alignment. Constructed from a pointer at the launch; the pointer may be null if the kernel then makes no
/// access.
template <class T>
class Global {
 public:
  using Value = std::remove_const_t<T>;

#if defined(FILTERSCOPE_EMULATED)
  Global(T* data) : data_(data), bounds_(emulation::bounds_of(data)) {}
#else
  __host__ __device__ Global(T* data) : data_(data) {}
#endif

  __device__ explicit operator bool() const {
    return data_ != nullptr;
  }

  __device__ Value load(std::int64_t index) const {
    return *address(index, 1);
  }
  __device__ void store(std::int64_t index, Value value) const {
    *address(index, 1) = value;
  }

  /// Loads or stores elements index .. index + N - 1 with one instruction; index must be a multiple of N.
  template <int N>
  __device__ Vector<Value, N> load_vector(std::int64_t index) const {
    return *reinterpret_cast<const Vector<Value, N>*>(vector_address<N>(index));
  }
  template <int N>
  __device__ void store_vector(std::int64_t index, const Vector<Value, N>& vector) const {
    *reinterpret_cast<Vector<Value, N>*>(vector_address<N>(index)) = vector;
  }

  /// The address for instructions that access N elements themselves; index must be a multiple of N.
  template <int N>
  __device__ T* vector_address(std::int64_t index) const {
    T* const at = address(index, N);
#if defined(FILTERSCOPE_EMULATED)
    emulation::check_alignment(at, sizeof(T) * N);
#endif
    return at;
  }

 private:
  __device__ T* address(std::int64_t index, [[maybe_unused]] int count) const {
#if defined(FILTERSCOPE_EMULATED)
    emulation::check_access(bounds_, data_ + index, sizeof(T) * count);
#endif
    return data_ + index;
  }

  T* data_;
#if defined(FILTERSCOPE_EMULATED)
  emulation::Bounds bounds_;
#endif
};

}  // namespace filterscope::kernels
