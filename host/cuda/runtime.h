#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "../base/out_of_memory.h"
#include "check.h"

namespace filterscope::cuda {

/// Bytes in device memory, or in pinned host memory that the device can access. Movable only.
class Allocation {
 public:
  enum class Kind { device, pinned };
  Allocation() = default;
  /// Throws OutOfMemory.
  Allocation(Kind kind, std::size_t bytes);
  Allocation(Allocation&& other) noexcept { *this = std::move(other); }
  Allocation& operator=(Allocation&& other) noexcept;
  ~Allocation();

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Kind kind_ = Kind::device;
};

/// An array of T in device memory, uninitialised.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::size_t size)
      : memory_(Allocation::Kind::device, size * sizeof(T)), size_(size) {}
  /// Holds a copy of `values`; waits for the copy.
  explicit DeviceBuffer(std::span<const T> values) : DeviceBuffer(values.size()) {
    check(cudaMemcpy(data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
          "copying to the device");
    // A copy from pageable memory may still be under way, and other streams do not wait for it.
    check(cudaStreamSynchronize(nullptr), "copying to the device");
  }

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::size_t size() const { return size_; }

 private:
  Allocation memory_;
  std::size_t size_ = 0;
};

/// A copy of device memory. Work that writes it must have finished.
template <class T>
std::vector<T> to_host(const T* data, std::size_t count) {
  std::vector<T> values(count);
  check(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), "copying to the host");
  return values;
}

/// An array of T in pinned host memory, which the device can also read and write.
template <class T>
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(std::size_t size)
      : memory_(Allocation::Kind::pinned, size * sizeof(T)), size_(size) {}

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::size_t size() const { return size_; }
  std::span<T> span() const { return {data(), size_}; }

 private:
  Allocation memory_;
  std::size_t size_ = 0;
};

/// A stream that does not synchronise with the default stream.
class Stream {
 public:
  Stream();
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&&) = delete;
  ~Stream();
  operator cudaStream_t() const { return stream_; }
  void synchronise() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  enum class Timing { off, on };
  explicit Event(Timing timing = Timing::off);
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  ~Event();
  operator cudaEvent_t() const { return event_; }
  void record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "recording an event"); }
  void synchronise() const { check(cudaEventSynchronize(event_), "waiting for an event"); }
  /// Whether the device has reached it.
  bool passed() const;
  /// Milliseconds from `start` to this event; both have timing and have passed.
  float milliseconds_since(const Event& start) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// A CUDA graph: captured work that is launched as a whole.
class Graph {
 public:
  Graph() = default;
  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~Graph();
  explicit operator bool() const { return graph_ != nullptr; }
  /// Captures what `enqueue()` puts on `stream`, which must not be used otherwise meanwhile. Nothing runs
  /// yet. Throws OutOfMemory.
  template <class Enqueue>
  static Graph capture(cudaStream_t stream, Enqueue&& enqueue) {
    Capture capture(stream);
    enqueue();
    return capture.finish();
  }
  /// Uploads it to the device, which the first launch would do otherwise. Throws OutOfMemory.
  void upload(cudaStream_t stream) const;
  void launch(cudaStream_t stream) const { check(cudaGraphLaunch(graph_, stream), "launching a graph"); }

 private:
  // Ends the capture even if enqueuing throws.
  class Capture {
   public:
    explicit Capture(cudaStream_t stream);
    ~Capture();
    Graph finish();

   private:
    cudaStream_t stream_;
    bool open_ = true;
  };

  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace filterscope::cuda
