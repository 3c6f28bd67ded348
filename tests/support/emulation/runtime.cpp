#include "runtime.h"

#include <chrono>
#include <map>
#include <mutex>
#include <new>
#include <utility>

using filterscope::emulation::Bounds;
using filterscope::emulation::Counters;
using filterscope::emulation::Error;

struct CUgraph_st {
  std::vector<std::function<void()>> operations;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> operations;
};
struct CUstream_st {
  CUgraph_st* capture = nullptr;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point recorded;
};

namespace {

// Every allocation lies between zones that nothing may write to.
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
Counters g_counters;
cudaError_t g_last_error = cudaSuccess;
int g_captures = 0;  // Under way.

cudaError_t failed(cudaError_t error) {
  g_last_error = error;
  return error;
}

// What a device refuses while a stream is captured: allocating, and whatever waits.
bool capturing() {
  return g_captures > 0;
}

cudaError_t allocate(void** pointer, std::size_t bytes, bool pinned) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  const std::lock_guard lock(g_mutex);
  if (bytes == 0) {
    *pointer = nullptr;
    return cudaSuccess;
  }
  if (!pinned && bytes > g_memory - std::min(g_memory, g_counters.allocated_bytes)) {
    return failed(cudaErrorMemoryAllocation);
  }
  auto* const memory = static_cast<std::byte*>(
      ::operator new (bytes + 2 * kGuardBytes, std::align_val_t{kGuardBytes}, std::nothrow));
  if (memory == nullptr) return failed(cudaErrorMemoryAllocation);
  std::memset(memory, kGuardByte, kGuardBytes);
  std::memset(memory + kGuardBytes, kPoison, bytes);
  std::memset(memory + kGuardBytes + bytes, kGuardByte, kGuardBytes);
  g_allocations.emplace(memory + kGuardBytes, Allocation{bytes, pinned});
  if (!pinned) g_counters.allocated_bytes += bytes;
  ++g_counters.allocations;
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
  if (!found->second.pinned) g_counters.allocated_bytes -= found->second.bytes;
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

void enqueue(cudaStream_t stream, std::function<void()> operation) {
  if (stream != nullptr && stream->capture != nullptr) {
    stream->capture->operations.push_back(std::move(operation));
    return;
  }
  ++g_counters.launches;
  operation();
}

void set_memory(std::size_t bytes) {
  g_memory = bytes;
}

Counters counters() {
  return g_counters;
}

}  // namespace filterscope::emulation

using filterscope::emulation::enqueue;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorUnknown:
      return "cudaErrorUnknown";
  }
  return "unknown";
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : cudaGetErrorName(error);
}
cudaError_t cudaGetLastError() {
  return std::exchange(g_last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return g_last_error;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : failed(cudaErrorInvalidValue);
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated device", g_memory, 9, 0, 2, 1 << 20};
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++g_counters.synchronisations;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = g_memory;
  *free = g_memory - std::min(g_memory, g_counters.allocated_bytes);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return allocate(pointer, bytes, false);
}
cudaError_t cudaFree(void* pointer) {
  return release(pointer);
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  return allocate(pointer, bytes, true);
}
cudaError_t cudaFreeHost(void* pointer) {
  return release(pointer);
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  ++g_counters.copies;
  const auto inside = [bytes](const void* pointer) {
    return filterscope::emulation::bounds_of(pointer).end >= static_cast<const std::byte*>(pointer) + bytes;
  };
  if (kind != cudaMemcpyDeviceToHost && kind != cudaMemcpyDefault && bytes > 0 && !inside(to)) {
    return failed(cudaErrorInvalidValue);
  }
  if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDefault && bytes > 0 && !inside(from)) {
    return failed(cudaErrorInvalidValue);
  }
  if (bytes > 0) enqueue(stream, [=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++g_counters.synchronisations;
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
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++g_counters.synchronisations;
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->capture != nullptr) return failed(cudaErrorInvalidValue);
  stream->capture = new CUgraph_st;
  ++g_captures;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream == nullptr || stream->capture == nullptr) return failed(cudaErrorInvalidValue);
  *graph = std::exchange(stream->capture, nullptr);
  --g_captures;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->operations};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  ++g_counters.launches;
  for (const auto& operation : executable->operations) operation();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++g_counters.synchronisations;
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  *milliseconds = std::chrono::duration<float, std::milli>(stop->recorded - start->recorded).count();
  return cudaSuccess;
}
cudaError_t cudaProfilerStart() {
  return cudaSuccess;
}
cudaError_t cudaProfilerStop() {
  return cudaSuccess;
}
