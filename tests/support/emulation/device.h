#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

/// The part of CUDA that the kernels use, for the host compiler: a device on which each thread of a block is
/// a fiber. It is built to find mistakes, not to be fast:
/// - every access to global memory is checked for alignment and against the allocation its pointer came from;
///   indices of shared arrays are checked; shared and device memory start poisoned;
/// - a barrier or a warp operation that not all threads reach is an error, not a hang;
/// - between barriers, one warp after the other runs as far as it gets, and the order of warps and lanes can
///   be reversed or shuffled, which uncovers missing barriers;
/// - the copies of cp.async must be waited for, and do not arrive before;
/// - a copy of a box is as late as possible: its destination is poisoned at once, and filled when no thread
/// can
///   run without it;
/// - a product of a warpgroup reads its operands and writes its accumulators when it is waited for.
/// A mistake throws emulation::Error out of the launch, naming kernel, block and thread.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;

/// The bits of an IEEE binary16.
struct __half {
  std::uint16_t bits = 0;
};
/// The upper half of a float's bits.
struct __nv_bfloat16 {
  std::uint16_t bits = 0;
};
float __half2float(__half value);
__half __float2half_rn(float value);
inline float __bfloat162float(__nv_bfloat16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}
__nv_bfloat16 __float2bfloat16_rn(float value);

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace filterscope::emulation {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The order in which the threads of a block run between barriers.
enum class Order { ascending, descending, shuffled };
void set_order(Order order);

// ---- launches

void launch(const char* name, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> kernel);

/// Throws an Error that names kernel, block and thread. Only inside a kernel.
[[noreturn]] void fail(const std::string& what);

// ---- global memory

struct Bounds {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
};
/// The live allocation that contains `pointer`; empty for null. Throws an Error for any other pointer.
Bounds bounds_of(const volatile void* pointer);

[[noreturn]] void fail_access(const Bounds& bounds, const void* address, std::size_t bytes);
inline void check_access(const Bounds& bounds, const void* address, std::size_t bytes) {
  const auto* const first = static_cast<const std::byte*>(address);
  if (first < bounds.begin || first + bytes > bounds.end) fail_access(bounds, address, bytes);
}
inline void check_alignment(const void* address, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) fail("misaligned access to global memory");
}

// ---- shared memory

template <class T>
class SharedArray {
 public:
  SharedArray(T* data, std::size_t size) : data_(data), size_(size) {}
  T& operator[](std::size_t index) const {
    if (index >= size_) {
      fail("index " + std::to_string(static_cast<std::ptrdiff_t>(index)) + " into a shared array of " +
           std::to_string(size_));
    }
    return data_[index];
  }
  /// An address for an instruction's ptx wrapper, which checks it.
  T* operator+(std::ptrdiff_t offset) const { return data_ + offset; }

 private:
  T* data_;
  std::size_t size_;
};

/// The running block's memory for the array identified by `tag`, poisoned when the block's first thread asks.
void* shared_memory(const void* tag, std::size_t bytes);
void* dynamic_shared_memory();
std::size_t dynamic_shared_bytes();

template <class T, class Tag>
SharedArray<T> shared_array(std::size_t count, Tag) {
  static const char tag = 0;  // One per lambda type, hence per place in the source and instantiation.
  return {static_cast<T*>(shared_memory(&tag, count * sizeof(T))), count};
}
template <class T>
SharedArray<T> dynamic_shared_array() {
  return {static_cast<T*>(dynamic_shared_memory()), dynamic_shared_bytes() / sizeof(T)};
}
#define FILTERSCOPE_SHARED(Type, name, count) \
  const auto name = ::filterscope::emulation::shared_array<Type>(count, [] {})
#define FILTERSCOPE_DYNAMIC_SHARED(Type, name) \
  const auto name = ::filterscope::emulation::dynamic_shared_array<Type>()

/// The offset in shared memory, as instructions use it.
std::uint64_t shared_address(const void* shared);

// ---- threads of a block

void block_barrier();

constexpr int kLanes = 32;
/// The data that a lane gives to the other lanes of its warp in one operation.
struct Deposit {
  std::uint32_t words[12];
};
/// Leaves `own` for the warp and waits until all 32 lanes have done so in an operation of the same `kind`.
/// Returns the 32 deposits; they stay until the lane's next operation.
const Deposit* exchange(const char* kind, const Deposit& own);
int lane();

template <class T>
Deposit deposit(const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(Deposit));
  Deposit result{};
  std::memcpy(result.words, &value, sizeof(T));
  return result;
}
template <class T>
T value_of(const Deposit& deposit) {
  T value;
  std::memcpy(&value, deposit.words, sizeof(T));
  return value;
}
inline void require_full_warp(unsigned mask) {
  if (mask != 0xffffffffu) fail("a warp operation with a mask other than the full warp");
}

// ---- ptx

void cp_async(void* shared, const void* global, std::size_t bytes, bool valid);
void cp_async_commit();
void cp_async_wait(int pending);
void ldmatrix(std::uint32_t (&fragment)[4], const void* row, bool transposed);
/// How often so far two different rows of one ldmatrix matrix were in the same banks.
long ldmatrix_bank_conflicts();

template <class T>
float half_of_register(std::uint32_t word, int which) {
  const auto bits = static_cast<std::uint16_t>(word >> (16 * which));
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float({bits});
  } else {
    return __bfloat162float({bits});
  }
}

/// Products are added one by one, in fp32.
template <class T>
void mma_m16n8k16(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  struct Operands {
    float a[8];
    float b[4];
  } own;
  for (int i = 0; i < 8; ++i) own.a[i] = half_of_register<T>(a[i / 2], i % 2);
  for (int i = 0; i < 4; ++i) own.b[i] = half_of_register<T>(b[i / 2], i % 2);
  const Deposit* const warp = exchange("mma", deposit(own));
  const auto value = [warp](int of_lane, int operand) {
    return std::bit_cast<float>(warp[of_lane].words[operand]);
  };
  const int group = lane() / 4;
  const int pair = lane() % 4 * 2;
  for (int k = 0; k < 16; ++k) {
    // The lane that holds element k, of the four that share a row of A or a column of B, and its place there.
    const int holder = k % 8 / 2;
    const int in_a = k / 8 * 4 + k % 2;
    const int in_b = 8 + k / 8 * 2 + k % 2;
    const float rows[2] = {value(group * 4 + holder, in_a), value(group * 4 + holder, in_a + 2)};
    const float columns[2] = {value(pair * 4 + holder, in_b), value((pair + 1) * 4 + holder, in_b)};
    for (int i = 0; i < 4; ++i) sums[i] += rows[i / 2] * columns[i % 2];
  }
}

/// Each mbarrier takes 8 bytes of shared memory.
void mbarrier_init(void* barrier, int arrivals);
void mbarrier_arrive(void* barrier, int expected_bytes);
void mbarrier_wait(void* barrier, int parity);

/// A matrix of 16-bit elements in device memory, and the box that is copied from it.
struct TensorMap {
  const std::uint16_t* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  int box_rows = 0;
  int group_rows =
      0;  ///< If not 0: the box has a pair of rows from each of several groups of this many rows.
};
void tma_load(void* shared, const TensorMap& map, int row, int column, void* barrier);
void tma_load_pairs(void* shared, const TensorMap& map, int row, int column, void* barrier);

void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int pending);
/// Each thread has half as many accumulators as the product has columns.
void wgmma_m64k16(float* sums, int sums_count, const std::uint32_t* a, std::uint64_t b, bool add,
                  float (*to_float)(std::uint16_t bits));
template <class T>
void wgmma_m64k16(float* sums, int sums_count, const std::uint32_t* a, std::uint64_t b, bool add) {
  wgmma_m64k16(sums, sums_count, a, b, add, [](std::uint16_t bits) { return half_of_register<T>(bits, 0); });
}

}  // namespace filterscope::emulation

#define __grid_constant__

// ---- CUDA's own names

inline void __syncthreads() {
  filterscope::emulation::block_barrier();
}
inline void __syncwarp() {
  filterscope::emulation::exchange("syncwarp", {});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  namespace emulation = filterscope::emulation;
  emulation::require_full_warp(mask);
  return emulation::value_of<T>(
      emulation::exchange("shfl", emulation::deposit(value))[from % emulation::kLanes]);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  namespace emulation = filterscope::emulation;
  emulation::require_full_warp(mask);
  return emulation::value_of<T>(
      emulation::exchange("shfl_xor", emulation::deposit(value))[emulation::lane() ^ distance]);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance) {
  namespace emulation = filterscope::emulation;
  emulation::require_full_warp(mask);
  const int from = emulation::lane() + distance;
  const emulation::Deposit* const warp = emulation::exchange("shfl_down", emulation::deposit(value));
  return from < emulation::kLanes ? emulation::value_of<T>(warp[from]) : value;
}
inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  namespace emulation = filterscope::emulation;
  emulation::require_full_warp(mask);
  const emulation::Deposit* const warp =
      emulation::exchange("ballot", emulation::deposit(unsigned{predicate}));
  unsigned result = 0;
  for (int i = 0; i < emulation::kLanes; ++i) result |= warp[i].words[0] << i;
  return result;
}
inline int __popc(unsigned value) {
  return std::popcount(value);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(std::uint64_t{a} * b >> 32);
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float sinpif(float x) {
  return static_cast<float>(std::sin(std::numbers::pi * x));
}
inline float cospif(float x) {
  return static_cast<float>(std::cos(std::numbers::pi * x));
}
inline void __threadfence_system() {}
using std::isfinite;
using std::max;
using std::min;
