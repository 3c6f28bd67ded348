#pragma once

#include "../ptx/mbarrier.h"
#include "types.h"

namespace filterscope::kernels {

/// Of the mbarriers of one buffer of a Ring.
constexpr int kRingBarrierBytes = 2 * sizeof(ptx::MBarrier);

/// Buffers in shared memory that go round between those who fill them and the warps that read them. Each has
/// two mbarriers, for full and for empty. Every thread has a Ring of its own, which knows where it is.
template <class Memory>
class Ring {
 public:
  /// The mbarriers are at byte `barriers` of `memory`.
  __device__ Ring(const Memory& memory, int barriers, int size)
      : memory_(memory), barriers_(barriers), size_(size) {}

  /// By one thread, before anything else. `writers` arrive when a buffer is full, `readers` when it is empty.
  __device__ void init(int writers, int readers) const {
    for (int i = 0; i < size_; ++i) {
      ptx::mbarrier_init(full(i), writers);
      ptx::mbarrier_init(empty(i), readers);
    }
  }

  /// The buffer in turn.
  __device__ int index() const { return index_; }
  __device__ void advance() {
    if (++index_ == size_) {
      index_ = 0;
      parity_ ^= 1;
    }
  }

  __device__ void wait_empty() const { ptx::mbarrier_wait(empty(index_), parity_ ^ 1); }
  /// Announces what will be copied, as one of the writers; the copies arrive on what this returns.
  __device__ void* expect(int bytes) const {
    void* const barrier = full(index_);
    ptx::mbarrier_arrive_expecting(barrier, bytes);
    return barrier;
  }
  /// By a writer that copies nothing, when all of its warp have written.
  __device__ void fill() const { ptx::mbarrier_arrive(full(index_)); }

  __device__ void wait_full() const { ptx::mbarrier_wait(full(index_), parity_); }
  /// By a reader, when all of its warp have read that buffer.
  __device__ void release(int index) const { ptx::mbarrier_arrive(empty(index)); }

 private:
  __device__ void* full(int i) const { return memory_ + (barriers_ + i * kRingBarrierBytes); }
  __device__ void* empty(int i) const {
    return memory_ + (barriers_ + i * kRingBarrierBytes + kRingBarrierBytes / 2);
  }

  Memory memory_;
  int barriers_;
  int size_;
  int index_ = 0;
  int parity_ = 0;
};

}  // namespace filterscope::kernels
