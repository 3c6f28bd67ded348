#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

#include "../base/out_of_memory.h"

namespace filterscope::cpu {

/// Uninitialised memory, aligned to cache lines and for the widest vectors. Large buffers ask for huge pages.
/// Can be moved, not copied. Throws OutOfMemory.
template <typename T>
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count) : size_(count) {
    if (count == 0) return;
    const std::size_t alignment = count * sizeof(T) >= kHugePage ? kHugePage : kAlignment;
    const std::size_t bytes = (count * sizeof(T) + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (data_ == nullptr) throw OutOfMemory("out of memory", bytes);
    if (alignment == kHugePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // A hint, which may fail.
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  std::span<T> span() { return {data(), size_}; }

 private:
  struct Free {
    void operator()(T* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace filterscope::cpu
