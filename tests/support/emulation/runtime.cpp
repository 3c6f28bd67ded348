#include "runtime.h"

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

// Streams, events, graphs and the device itself; runtime_memory.cpp has the rest of the emulated CUDA
// runtime.

using filterscope::emulation::capturing;
using filterscope::emulation::failed;
using filterscope::emulation::run_all;
using filterscope::emulation::run_all_streams;

struct CUgraph_st {
  std::vector<std::function<void()>> operations;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> operations;
};
struct CUstream_st {
  CUgraph_st* capture = nullptr;
  // Operations that are enqueued but have not run, with Lateness::late.
  std::deque<std::function<void()>> pending;
  unsigned asleep = 0;  // The number of queries during which it makes no progress.
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

bool g_broken = false;
bool g_refuses_graph = false;
std::vector<std::string> g_open_ranges;
std::set<std::string> g_ranges;
filterscope::emulation::Counters g_counters;
cudaError_t g_last_error = cudaSuccess;
int g_captures = 0;  // Streams being captured.
filterscope::emulation::Lateness g_lateness = filterscope::emulation::Lateness::none;
std::set<cudaStream_t> g_streams;
std::minstd_rand g_progress(1);  // Decides how far a stream gets between two queries.

void run_next(cudaStream_t stream) {
  const auto operation = std::move(stream->pending.front());
  stream->pending.pop_front();
  operation();
}
// Runs everything up to the record, including it.
void run_to(const std::shared_ptr<CUevent_st::Record>& record) {
  while (record && !record->passed) run_next(record->stream);
}
// Lets the stream make a little progress, or none for a number of queries.
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

// Runs `operation` now, or when the stream gets to it.
void put(cudaStream_t stream, std::function<void()> operation) {
  if (stream == nullptr ||
      (stream->pending.empty() && g_lateness == filterscope::emulation::Lateness::none)) {
    operation();
  } else {
    stream->pending.push_back(std::move(operation));
  }
}

}  // namespace

namespace filterscope::emulation {

void run_all(cudaStream_t stream) {
  while (stream != nullptr && !stream->pending.empty()) run_next(stream);
}
void run_all_streams() {
  for (const cudaStream_t stream : g_streams) run_all(stream);
}

cudaError_t failed(cudaError_t error) {
  g_last_error = error;
  return error;
}

bool capturing() {
  return g_captures > 0;
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
void refuse_next_graph() {
  g_refuses_graph = true;
}

Counters counters() {
  return g_counters;
}
Counters& mutable_counters() {
  return g_counters;
}

}  // namespace filterscope::emulation

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
  std::size_t free = 0;
  std::size_t total = 0;
  cudaMemGetInfo(&free, &total);
  *properties = {"emulated device", total, 9, 0, 2, 1 << 20};
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
