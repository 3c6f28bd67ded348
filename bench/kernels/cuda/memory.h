#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "../check.h"
#include "host/cuda/runtime.h"
#include "kernels/common/types.h"
#include "kernels/relu/mask_format.h"

/// Device memory of the CUDA benchmarks: filling it with random values and reading it.
namespace filterscope::bench {

/// An array of `count` T in device memory that repeats `sequence`.
template <class T>
cuda::DeviceBuffer<T> repeated(std::span<const T> sequence, std::size_t count) {
  cuda::DeviceBuffer<T> buffer(count);
  const auto copy = [&](std::size_t to, const T* from, std::size_t size, cudaMemcpyKind kind) {
    cuda::check(cudaMemcpy(buffer.data() + to, from, size * sizeof(T), kind), "filling device memory");
  };
  std::size_t done = std::min(sequence.size(), count);
  if (done > 0) copy(0, sequence.data(), done, cudaMemcpyHostToDevice);
  // Doubles what has been written, in whole sequences.
  while (done < count) {
    const std::size_t more = std::min(done, count - done);
    copy(done, buffer.data(), more, cudaMemcpyDeviceToDevice);
    done += more;
  }
  cuda::check(cudaStreamSynchronize(nullptr), "filling device memory");
  return buffer;
}

/// `count` values from `draw(generator)`, repeating after a prime number of values so that images differ.
/// They are drawn once for each T and Draw.
template <class T, class Draw>
cuda::DeviceBuffer<T> random_array(std::size_t count, Draw draw) {
  static const std::vector<T> sequence = [&] {
    std::mt19937 generator(1);
    std::vector<T> values(262139);
    for (T& value : values) value = draw(generator);
    return values;
  }();
  return repeated(std::span(sequence).first(std::min(count, sequence.size())), count);
}

/// Uniform in [low, 1); random, since tensor cores draw less power, and run faster, on zeros.
template <class T, float low = -1.f>
cuda::DeviceBuffer<T> random_values(std::size_t count) {
  return random_array<T>(count, [](std::mt19937& generator) {
    return kernels::from_float<T>(std::uniform_real_distribution<float>(low, 1.f)(generator));
  });
}
/// As after a ReLU: half of them are zero.
template <class T>
cuda::DeviceBuffer<T> random_activations(std::size_t count) {
  return random_array<T>(count, [](std::mt19937& generator) {
    return kernels::from_float<T>(std::max(0.f, std::uniform_real_distribution<float>(-1.f, 1.f)(generator)));
  });
}
inline cuda::DeviceBuffer<std::uint32_t> random_words(std::size_t count) {
  return random_array<std::uint32_t>(
      count, [](std::mt19937& generator) { return static_cast<std::uint32_t>(generator()); });
}
/// Bytes that are 0 or 1.
inline cuda::DeviceBuffer<std::uint8_t> random_mask_bytes(std::size_t count) {
  return random_array<std::uint8_t>(
      count, [](std::mt19937& generator) { return static_cast<std::uint8_t>(generator() & 1); });
}
/// Filled with 0xff: NaN in every floating-point type.
template <class T>
cuda::DeviceBuffer<T> poisoned_values(std::size_t count) {
  cuda::DeviceBuffer<T> buffer(count);
  cuda::check(cudaMemset(buffer.data(), 0xff, count * sizeof(T)), "filling device memory");
  cuda::check(cudaStreamSynchronize(nullptr), "filling device memory");
  return buffer;
}
template <class T>
cuda::DeviceBuffer<T> upload(const std::vector<T>& values) {
  return cuda::DeviceBuffer<T>(std::span<const T>(values));
}

/// Waits for the device, then copies to the host.
template <class T>
std::vector<T> download(const T* from, std::size_t count) {
  std::vector<T> values(count);
  cuda::check(cudaDeviceSynchronize(), "running the kernel");
  cuda::check(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost),
              "copying to the host");
  return values;
}
/// The part of one image, `size` elements, of an array.
template <class T>
std::vector<T> download_image(const cuda::DeviceBuffer<T>& array, int image, std::size_t size) {
  return download(array.data() + size * image, size);
}

/// The images whose results are checked: the first, the last, and one in between.
inline std::set<int> checked_images(int images) {
  return {0, images / 2, images - 1};
}

inline bool bit(std::span<const std::uint32_t> words, std::size_t i) {
  return (words[i / 32] >> i % 32 & 1u) != 0;
}
inline std::string place(int image, int y, int x, int channel) {
  return fmt::format("image {}, row {}, column {}, channel {}", image, y, x, channel);
}

/// Error of one rounding of a value to T.
template <class T>
double rounding(double value) {
  if constexpr (std::is_same_v<T, kernels::Half>) return 0x1p-11 * std::abs(value) + 0x1p-25;
  if constexpr (std::is_same_v<T, kernels::Bfloat16>) return 0x1p-8 * std::abs(value);
  return 0x1p-24 * std::abs(value);
}

/// A random mask of a map, in any format.
template <class T>
struct RandomMask {
  kernels::MaskFormat format = kernels::MaskFormat::none;
  cuda::DeviceBuffer<std::uint32_t> bits{};
  cuda::DeviceBuffer<std::uint8_t> bytes{};
  cuda::DeviceBuffer<T> activation{};

  RandomMask() = default;
  RandomMask(kernels::MaskFormat of_format, std::size_t elements) : format(of_format) {
    if (format == kernels::MaskFormat::bits) bits = random_words(elements / 32);
    if (format == kernels::MaskFormat::bytes) bytes = random_mask_bytes(elements);
    if (format == kernels::MaskFormat::activation) activation = random_activations<T>(elements);
  }
  static std::size_t bytes_of(kernels::MaskFormat format, std::size_t elements) {
    switch (format) {
      case kernels::MaskFormat::none:
        break;
      case kernels::MaskFormat::bits:
        return elements / 8;
      case kernels::MaskFormat::bytes:
        return elements;
      case kernels::MaskFormat::activation:
        return elements * sizeof(T);
    }
    return 0;
  }
  const void* data() const {
    if (format == kernels::MaskFormat::bits) return bits.data();
    if (format == kernels::MaskFormat::bytes) return bytes.data();
    return activation.data();
  }
  kernels::ReluMask mask() const { return {format, format == kernels::MaskFormat::none ? nullptr : data()}; }

  /// Whether each element of an image's map of `size` elements is active.
  std::vector<bool> active(int image, std::size_t size) const {
    std::vector<bool> active(size, true);
    if (format == kernels::MaskFormat::bits) {
      const auto words = download(bits.data() + size * image / 32, size / 32);
      for (std::size_t i = 0; i < size; ++i) active[i] = bit(words, i);
    } else if (format == kernels::MaskFormat::bytes) {
      const auto values = download(bytes.data() + size * image, size);
      for (std::size_t i = 0; i < size; ++i) active[i] = values[i] != 0;
    } else if (format == kernels::MaskFormat::activation) {
      const auto values = download(activation.data() + size * image, size);
      for (std::size_t i = 0; i < size; ++i) active[i] = kernels::to_float(values[i]) > 0;
    }
    return active;
  }
};

}  // namespace filterscope::bench
