#include "runtime.h"

#include <atomic>
#include <cstdio>

namespace filterscope::cuda {

namespace {

// For destructors, which cannot throw. Reports the first failure only: on a lost device, all others fail too.
void report(cudaError_t status, const char* what) {
  static std::atomic_flag reported;
  if (status == cudaSuccess) return;
  cudaGetLastError();
  if (reported.test_and_set()) return;
  std::fprintf(stderr, "filterscope: %s: %s\n", what, cudaGetErrorString(status));
}

// For calls that allocate device memory.
void check_memory(cudaError_t status, const char* attempted) {
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // Otherwise the runtime reports this error to the next caller.
    throw OutOfMemory("out of device memory");
  }
  check(status, "{}", attempted);
}

}  // namespace

Allocation::Allocation(Kind kind, std::size_t bytes) : bytes_(bytes), kind_(kind) {
  if (bytes == 0) return;
  const bool device = kind == Kind::device;
  const cudaError_t status =
      device ? cudaMalloc(&data_, bytes) : cudaHostAlloc(&data_, bytes, cudaHostAllocMapped);
  if (!device && status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // Otherwise the runtime reports this error to the next caller.
    throw OutOfMemory("out of pinned memory", bytes);
  }
  check_memory(status, device ? "allocating device memory" : "allocating pinned memory");
}

Allocation& Allocation::operator=(Allocation&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(kind_, other.kind_);
  return *this;
}

Allocation::~Allocation() {
  if (data_ == nullptr) return;
  if (kind_ == Kind::device) {
    report(cudaFree(data_), "freeing device memory");
  } else {
    report(cudaFreeHost(data_), "freeing pinned memory");
  }
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}
Stream::~Stream() {
  if (stream_ != nullptr) report(cudaStreamDestroy(stream_), "destroying a stream");
}

Event::Event(Timing timing) {
  check(cudaEventCreateWithFlags(&event_, timing == Timing::on ? 0u : unsigned{cudaEventDisableTiming}),
        "creating an event");
}
Event::~Event() {
  if (event_ != nullptr) report(cudaEventDestroy(event_), "destroying an event");
}
bool Event::passed() const {
  const cudaError_t status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // Otherwise the runtime reports it to the next caller.
    return false;
  }
  check(status, "asking for an event");
  return true;
}
float Event::milliseconds_since(const Event& start) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "timing");
  return milliseconds;
}

Graph::~Graph() {
  if (graph_ != nullptr) report(cudaGraphExecDestroy(graph_), "destroying a graph");
}

Graph::Capture::Capture(cudaStream_t stream) : stream_(stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a graph");
}
Graph::Capture::~Capture() {
  if (!open_) return;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream_, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}
Graph Graph::Capture::finish() {
  open_ = false;
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream_, &graph), "capturing a graph");
  Graph result;
  const cudaError_t status = cudaGraphInstantiate(&result.graph_, graph, 0);
  cudaGraphDestroy(graph);
  check_memory(status, "instantiating a graph");
  return result;
}

void Graph::upload(cudaStream_t stream) const {
  check_memory(cudaGraphUpload(graph_, stream), "bringing a graph to the device");
}

}  // namespace filterscope::cuda
