// ReLU masks in separate passes, for convolutions whose epilogue cannot write or apply them.
//
// Floor: packing reads an element and writes a bit; applying reads and writes an element and reads a bit (or
// a byte, or the activation). Fused into an epilogue, only the mask's bit travels through memory. With the
// bit, the activation need not be kept and read again.
//
// Both kernels process several vectors of 16 bytes per thread, all loaded before the first is used.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "relu_mask.h"
#include "relu_mask_reader.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // Per thread.
constexpr int kWordBits = 32;

template <class T>
constexpr int kWidth = 16 / sizeof(T);

// First element of the thread's first vector; its vectors are kStride elements apart.
template <class T>
__device__ inline std::int64_t first_element() {
  return (std::int64_t{blockIdx.x} * kThreads * kVectors + threadIdx.x) * kWidth<T>;
}
template <class T>
constexpr int kStride = kThreads* kWidth<T>;

template <class T>
LaunchShape launch_shape(std::int64_t count) {
  const std::int64_t blocks = ceil_div(count, std::int64_t{kThreads * kVectors * kWidth<T>});
  return {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    pack_relu_mask_kernel(Global<const T> values, std::int64_t count, Global<std::uint32_t> bits) {
  const std::int64_t first = first_element<T>();
  Vector<T, kWidth<T>> loaded[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t at = first + i * kStride<T>;
    if (at < count) loaded[i] = values.template load_vector<kWidth<T>>(at);
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t at = first + i * kStride<T>;
    // Lanes that share a word are all inside or all outside; all take part in the shuffles.
    std::uint32_t lane_bits = 0;
    if (at < count) {
      for (int c = 0; c < kWidth<T>; ++c) lane_bits |= std::uint32_t{to_float(loaded[i][c]) > 0.f} << c;
    }
    const std::uint32_t word = join_bits<kWordBits / kWidth<T>>(lane_bits << at % kWordBits);
    if (at < count && at % kWordBits == 0) bits.store(at / kWordBits, word);
  }
}

template <class T, MaskFormat kFormat>
__global__ void __launch_bounds__(kThreads)
    apply_relu_mask_kernel(Global<T> gradient, std::int64_t count, ReluMaskReader<kFormat, T> mask) {
  const std::int64_t first = first_element<T>();
  const T zero = from_float<T>(0.f);
  Vector<T, kWidth<T>> values[kVectors];
  typename ReluMaskReader<kFormat, T>::Loaded masks[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t at = first + i * kStride<T>;
    if (at >= count) continue;
    values[i] = gradient.template load_vector<kWidth<T>>(at);
    masks[i] = mask.load(at);
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::int64_t at = first + i * kStride<T>;
    if (at >= count) continue;
    for (int c = 0; c < kWidth<T>; ++c) {
      if (!mask.active(masks[i], c)) values[i][c] = zero;
    }
    gradient.template store_vector<kWidth<T>>(at, values[i]);
  }
}

template <class T, MaskFormat kFormat>
void apply(T* gradient, std::int64_t count, const void* mask, cudaStream_t stream) {
  launch("apply_relu_mask", apply_relu_mask_kernel<T, kFormat>, launch_shape<T>(count), stream, gradient,
         count, ReluMaskReader<kFormat, T>(mask));
}

}  // namespace

template <class T>
void pack_relu_mask(const T* values, std::int64_t count, std::uint32_t* bits, cudaStream_t stream) {
  launch("pack_relu_mask", pack_relu_mask_kernel<T>, launch_shape<T>(count), stream, values, count, bits);
}

template <class T>
void apply_relu_mask(T* gradient, std::int64_t count, const ReluMask& mask, cudaStream_t stream) {
  switch (mask.format) {
    case MaskFormat::none:
      return;
    case MaskFormat::bits:
      return apply<T, MaskFormat::bits>(gradient, count, mask.data, stream);
    case MaskFormat::bytes:
      return apply<T, MaskFormat::bytes>(gradient, count, mask.data, stream);
    case MaskFormat::activation:
      return apply<T, MaskFormat::activation>(gradient, count, mask.data, stream);
  }
}

template void pack_relu_mask(const float*, std::int64_t, std::uint32_t*, cudaStream_t);
template void pack_relu_mask(const Half*, std::int64_t, std::uint32_t*, cudaStream_t);
template void pack_relu_mask(const Bfloat16*, std::int64_t, std::uint32_t*, cudaStream_t);
template void apply_relu_mask(float*, std::int64_t, const ReluMask&, cudaStream_t);
template void apply_relu_mask(Half*, std::int64_t, const ReluMask&, cudaStream_t);
template void apply_relu_mask(Bfloat16*, std::int64_t, const ReluMask&, cudaStream_t);

}  // namespace filterscope::kernels
