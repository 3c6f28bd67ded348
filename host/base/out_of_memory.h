#pragma once

#include <cstddef>
#include <new>

namespace filterscope {

/// Thrown when host or device memory cannot be allocated.
class OutOfMemory : public std::bad_alloc {
 public:
  /// `what` must outlive it: a literal. `bytes`: the allocation that failed, where known.
  explicit OutOfMemory(const char* what, std::size_t bytes = 0) : what_(what), bytes_(bytes) {}
  const char* what() const noexcept override { return what_; }
  std::size_t bytes() const { return bytes_; }

 private:
  const char* what_;
  std::size_t bytes_;
};

}  // namespace filterscope
