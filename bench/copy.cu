// A copy by the device's threads, as kernels read and write: vectors of 16 bytes, several per thread, all
// loaded before the first is stored. On an H200, cudaMemcpyAsync is slower than the project's kernels.
#include <stdexcept>

#include "copy.h"
#include "kernels/common/global.h"
#include "kernels/common/launch.h"

namespace filterscope::bench {

namespace {

using kernels::Global;
using kernels::Vector;

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // Per thread.
constexpr int kWidth = 4;    // Words per vector.
constexpr std::size_t kBlockWords = std::size_t{kThreads} * kVectors * kWidth;

__global__ void __launch_bounds__(kThreads)
    copy_kernel(Global<const std::uint32_t> from, Global<std::uint32_t> to) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kBlockWords + threadIdx.x * kWidth;
  Vector<std::uint32_t, kWidth> loaded[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i)
    loaded[i] = from.template load_vector<kWidth>(first + i * kThreads * kWidth);
#pragma unroll
  for (int i = 0; i < kVectors; ++i)
    to.template store_vector<kWidth>(first + i * kThreads * kWidth, loaded[i]);
}

}  // namespace

void copy_words(const std::uint32_t* from, std::uint32_t* to, std::size_t count, cudaStream_t stream) {
  if (count % kBlockWords != 0) throw std::invalid_argument("copy_words: not a multiple of 4096");
  kernels::launch("copy", copy_kernel, {dim3(static_cast<unsigned>(count / kBlockWords)), dim3(kThreads)},
                  stream, from, to);
}

}  // namespace filterscope::bench
