#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "runtime.h"

// Device memory, pinned memory and copies of the emulated CUDA runtime.

using filterscope::emulation::Bounds;
using filterscope::emulation::capturing;
using filterscope::emulation::enqueue;
using filterscope::emulation::Error;
using filterscope::emulation::failed;
using filterscope::emulation::mutable_counters;
using filterscope::emulation::run_all;
using filterscope::emulation::run_all_streams;

namespace {

// Every allocation lies between guard zones, which nothing may write to.
constexpr std::size_t kGuardBytes = 256;
constexpr unsigned char kGuardByte = 0xa5;
constexpr unsigned char kPoison = 0xff;

struct Allocation {
  std::size_t bytes;
  bool pinned;
};

std::mutex g_mutex;
std::map<const std::byte*, Allocation> g_allocations;
std::size_t g_memory = std::size_t{4} << 30;
int g_refused_pinned = 0;

cudaError_t allocate(void** pointer, std::size_t bytes, bool pinned) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  const std::lock_guard lock(g_mutex);
  if (bytes == 0) {
    *pointer = nullptr;
    return cudaSuccess;
  }
  if (!pinned && bytes > g_memory - std::min(g_memory, mutable_counters().allocated_bytes)) {
    return failed(cudaErrorMemoryAllocation);
  }
  auto* const memory = static_cast<std::byte*>(
      ::operator new (bytes + 2 * kGuardBytes, std::align_val_t{kGuardBytes}, std::nothrow));
  if (memory == nullptr) return failed(cudaErrorMemoryAllocation);
  std::memset(memory, kGuardByte, kGuardBytes);
  std::memset(memory + kGuardBytes, kPoison, bytes);
  std::memset(memory + kGuardBytes + bytes, kGuardByte, kGuardBytes);
  g_allocations.emplace(memory + kGuardBytes, Allocation{bytes, pinned});
  if (!pinned) mutable_counters().allocated_bytes += bytes;
  ++mutable_counters().allocations;
  *pointer = memory + kGuardBytes;
  return cudaSuccess;
}

cudaError_t release(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const std::lock_guard lock(g_mutex);
  auto* const memory = static_cast<std::byte*>(pointer);
  const auto found = g_allocations.find(memory);
  if (found == g_allocations.end()) return failed(cudaErrorInvalidValue);
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    if (memory[found->second.bytes + i] != std::byte{kGuardByte} ||
        memory[i - kGuardBytes] != std::byte{kGuardByte}) {
      return failed(cudaErrorUnknown);
    }
  }
  if (!found->second.pinned) mutable_counters().allocated_bytes -= found->second.bytes;
  g_allocations.erase(found);
  ::operator delete (memory - kGuardBytes, std::align_val_t{kGuardBytes});
  return cudaSuccess;
}

}  // namespace

namespace filterscope::emulation {

Bounds bounds_of(const volatile void* pointer) {
  if (pointer == nullptr) return {};
  const auto* const address = const_cast<const std::byte*>(static_cast<const volatile std::byte*>(pointer));
  const std::lock_guard lock(g_mutex);
  auto found = g_allocations.upper_bound(address);
  if (found != g_allocations.begin()) {
    --found;
    if (address <= found->first + found->second.bytes)
      return {found->first, found->first + found->second.bytes};
  }
  throw Error("a kernel is given a pointer that is not to device memory");
}

void set_memory(std::size_t bytes) {
  g_memory = bytes;
}

void refuse_pinned(int times) {
  g_refused_pinned = times;
}
}  // namespace filterscope::emulation

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = g_memory;
  *free = g_memory - std::min(g_memory, mutable_counters().allocated_bytes);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return allocate(pointer, bytes, false);
}
cudaError_t cudaFree(void* pointer) {
  run_all_streams();
  return release(pointer);
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  if (g_refused_pinned > 0) {
    --g_refused_pinned;
    return failed(cudaErrorMemoryAllocation);
  }
  return allocate(pointer, bytes, true);
}
cudaError_t cudaFreeHost(void* pointer) {
  run_all_streams();
  return release(pointer);
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  ++mutable_counters().copies;
  const auto is_allocated = [](const void* pointer) {
    try {
      return filterscope::emulation::bounds_of(pointer).begin != nullptr;
    } catch (const Error&) {
      return false;
    }
  };
  const auto inside = [bytes](const void* pointer) {
    return filterscope::emulation::bounds_of(pointer).end >= static_cast<const std::byte*>(pointer) + bytes;
  };
  if (kind != cudaMemcpyDeviceToHost && kind != cudaMemcpyDefault && bytes > 0 && !inside(to)) {
    return failed(cudaErrorInvalidValue);
  }
  if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDefault && bytes > 0 && !inside(from)) {
    return failed(cudaErrorInvalidValue);
  }
  if (bytes == 0) return cudaSuccess;
  // As in CUDA, pageable memory is read or written before the call returns.
  const bool pageable_source = kind == cudaMemcpyHostToDevice && !is_allocated(from);
  const bool pageable_target = kind == cudaMemcpyDeviceToHost && !is_allocated(to);
  if (pageable_source) {
    const auto* const first = static_cast<const std::byte*>(from);
    enqueue(stream, [to, staged = std::vector<std::byte>(first, first + bytes)] {
      std::memcpy(to, staged.data(), staged.size());
    });
  } else {
    enqueue(stream, [=] { std::memmove(to, from, bytes); });
  }
  if (pageable_target && !capturing()) run_all(stream);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++mutable_counters().synchronisations;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (filterscope::emulation::bounds_of(to).end < static_cast<std::byte*>(to) + bytes) {
    return failed(cudaErrorInvalidValue);
  }
  enqueue(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
