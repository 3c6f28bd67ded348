#pragma once

#include "../ptx/mbarrier.h"
#include "types.h"

namespace filterscope::kernels {

/// Bytes of the mbarriers of one buffer of a Ring.
constexpr int kRingBarrierBytes = 2 * sizeof(ptx::MBarrier);

/// A ring of buffers in shared memory between producers, which fill them, and consumer warps, which read
/// them. Each buffer has two mbarriers, full and empty. Every thread has its own Ring, which holds the
/// thread's position.
template <class Memory>
class Ring {
 public:
  /// The mbarriers of `size` buffers start at byte `barriers` of `memory`.
  __device__ Ring(const Memory& memory, int barriers, int size)
      : memory_(memory), barriers_(barriers), size_(size) {}

  /// Called by one thread before anything else. `writers` arrive when a buffer is full, `readers` when it is
  /// empty.
  __device__ void init(int writers, int readers) const {
    for (int i = 0; i < size_; ++i) {
      ptx::mbarrier_init(full(i), writers);
      ptx::mbarrier_init(empty(i), readers);
    }
  }

  /// The current buffer.
  __device__ int index() const { return index_; }
  __device__ void advance() {
    if (++index_ == size_) {
      index_ = 0;
      parity_ ^= 1;
    }
  }

  __device__ void wait_empty() const { ptx::mbarrier_wait(empty(index_), parity_ ^ 1); }
  /// Arrives as one writer and announces copies of `bytes` bytes, which are to complete on the mbarrier
  /// returned.
  __device__ void* expect(int bytes) const {
    void* const barrier = full(index_);
    ptx::mbarrier_arrive_expecting(barrier, bytes);
    return barrier;
  }
  /// Arrives as one writer that fills the buffer without copies, once its whole warp has written.
  __device__ void fill() const { ptx::mbarrier_arrive(full(index_)); }

  __device__ void wait_full() const { ptx::mbarrier_wait(full(index_), parity_); }
  /// Arrives as one reader, once its whole warp has read the buffer `index`.
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
