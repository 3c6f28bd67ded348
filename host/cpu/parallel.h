#pragma once

#include <omp.h>

#include <algorithm>

namespace filterscope::cpu {

/// Calls body(image, begin, end) for pieces of at most `tile` of each image's [0, rows), spread over threads.
/// The pieces do not depend on the number of threads.
template <typename Body>
void parallel_tiles(int images, int rows, int tile, const Body& body) {
  const int tiles = (rows + tile - 1) / tile;
#pragma omp parallel for collapse(2) schedule(static) if (images * tiles > 1)
  for (int image = 0; image < images; ++image) {
    for (int piece = 0; piece < tiles; ++piece) {
      body(image, piece * tile, std::min(rows, (piece + 1) * tile));
    }
  }
}

/// Sets the number of OpenMP threads that the calling thread starts, for a scope. 0 leaves it as it is.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) {
    if (threads > 0) omp_set_num_threads(threads);
  }
  ~ThreadCount() { omp_set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

}  // namespace filterscope::cpu
