#include "runtime.h"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <utility>
#include <vector>

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
  // What is enqueued and has not run, with Lateness::late.
  std::deque<std::function<void()>> pending;
  unsigned asleep = 0;  // Questions during which it gets no further.
};
struct CUevent_st {
  // Shared with the operation that records it, which may outlive the event.
  struct Record {
    cudaStream_t stream = nullptr;
    bool passed = false;
    std::chrono::steady_clock::time_point time;
  };
  std::shared_ptr<Record> record;  // The latest; null: never recorded, which counts as passed.
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
bool g_broken = false;
bool g_refuses_graph = false;
int g_refused_pinned = 0;
std::vector<std::string> g_open_ranges;
std::set<std::string> g_ranges;
Counters g_counters;
cudaError_t g_last_error = cudaSuccess;
int g_captures = 0;  // Under way.
filterscope::emulation::Lateness g_lateness = filterscope::emulation::Lateness::none;
std::set<cudaStream_t> g_streams;
std::minstd_rand g_progress(1);  // How far a stream gets between two questions.

cudaError_t failed(cudaError_t error) {
  g_last_error = error;
  return error;
}

// What a device refuses while a stream is captured: allocating, and whatever waits.
bool capturing() {
  return g_captures > 0;
}

void run_next(cudaStream_t stream) {
  const auto operation = std::move(stream->pending.front());
  stream->pending.pop_front();
  operation();
}
void run_all(cudaStream_t stream) {
  while (stream != nullptr && !stream->pending.empty()) run_next(stream);
}
void run_all_streams() {
  for (const cudaStream_t stream : g_streams) run_all(stream);
}
// Up to and with the record.
void run_to(const std::shared_ptr<CUevent_st::Record>& record) {
  while (record && !record->passed) run_next(record->stream);
}
// The device has got on a little meanwhile, or not at all, for a while of questions.
void run_some(cudaStream_t stream) {
  constexpr unsigned kMost = 4;
  constexpr unsigned kLongestSleep = 50;
  if (stream == nullptr) return;
  if (stream->asleep > 0) {
    --stream->asleep;
    return;
  }
  if (g_progress() % 2 == 0) {
    stream->asleep = static_cast<unsigned>(g_progress() % kLongestSleep);
    return;
  }
  for (auto left = g_progress() % (kMost + 1); left > 0 && !stream->pending.empty(); --left) {
    run_next(stream);
  }
}

// Runs it now, or when the stream gets to it.
void put(cudaStream_t stream, std::function<void()> operation) {
  if (stream == nullptr ||
      (stream->pending.empty() && g_lateness == filterscope::emulation::Lateness::none)) {
    operation();
  } else {
    stream->pending.push_back(std::move(operation));
  }
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
  put(stream, std::move(operation));
}

void set_lateness(Lateness lateness) {
  run_all_streams();
  g_lateness = lateness;
}

void set_memory(std::size_t bytes) {
  g_memory = bytes;
}

void set_broken(bool broken) {
  g_broken = broken;
}
void push_range(const std::string& name) {
  g_open_ranges.push_back(g_open_ranges.empty() ? name : g_open_ranges.back() + '/' + name);
  g_ranges.insert(g_open_ranges.back());
}
void pop_range() {
  g_open_ranges.pop_back();
}
std::set<std::string> take_ranges() {
  return std::exchange(g_ranges, {});
}
void refuse_pinned(int times) {
  g_refused_pinned = times;
}
void refuse_next_graph() {
  g_refuses_graph = true;
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
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
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
  if (g_broken) return failed(cudaErrorIllegalAddress);
  run_all_streams();
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
  ++g_counters.copies;
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
  // Memory that is not pinned is copied from before the call returns, and to before it returns as well.
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
  g_streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  run_all(stream);
  g_streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++g_counters.synchronisations;
  if (g_broken) return failed(cudaErrorIllegalAddress);
  run_all(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (g_broken) return failed(cudaErrorIllegalAddress);
  run_some(stream);
  return stream == nullptr || stream->pending.empty() ? cudaSuccess : failed(cudaErrorNotReady);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  put(stream, [record = event->record] { run_to(record); });
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
  if (std::exchange(g_refuses_graph, false)) return failed(cudaErrorMemoryAllocation);
  *executable = new CUgraphExec_st{graph->operations};
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ++g_counters.launches;
  put(stream, [operations = executable->operations] {
    for (const auto& operation : operations) operation();
  });
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
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->record = std::make_shared<CUevent_st::Record>();
  event->record->stream = stream;
  put(stream, [record = event->record] {
    record->passed = true;
    record->time = std::chrono::steady_clock::now();
  });
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (capturing()) return failed(cudaErrorStreamCaptureUnsupported);
  ++g_counters.synchronisations;
  if (g_broken) return failed(cudaErrorIllegalAddress);
  run_to(event->record);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (g_broken) return failed(cudaErrorIllegalAddress);
  if (event->record && !event->record->passed) run_some(event->record->stream);
  return event->record && !event->record->passed ? failed(cudaErrorNotReady) : cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  for (const cudaEvent_t event : {start, stop}) {
    if (!event->record) return failed(cudaErrorInvalidValue);
    if (!event->record->passed) return failed(cudaErrorNotReady);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(stop->record->time - start->record->time).count();
  return cudaSuccess;
}
cudaError_t cudaProfilerStart() {
  return cudaSuccess;
}
cudaError_t cudaProfilerStop() {
  return cudaSuccess;
}
