#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "processors.h"

namespace filterscope {

/// Calls body(0) to body(count - 1) on all cores. The first exception ends the loop and is rethrown.
template <typename Body>
void for_each_parallel(std::size_t count, Body body) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        body(i);
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!error) error = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::jthread> threads;
  const std::size_t wanted = std::min<std::size_t>(count, available_processors());
  try {
    while (threads.size() + 1 < wanted) threads.emplace_back(work);
  } catch (const std::system_error&) {  // The system allows no more threads; fewer will do.
  } catch (const std::bad_alloc&) {
  }
  work();
  threads.clear();  // Joins them.
  if (error) std::rethrow_exception(error);
}

}  // namespace filterscope
