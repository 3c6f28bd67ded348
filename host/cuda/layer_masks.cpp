#include "layer_masks.h"

#include "kernels/common/types.h"
#include "plan/trial_result.h"

namespace filterscope::cuda {

namespace {

constexpr int kBitsPerWord = 32;
constexpr int kArgmaxPerWord = 16;

std::vector<std::uint8_t> read_fields(const std::uint32_t* words, std::size_t count, int bits) {
  std::vector<std::uint8_t> fields;
  append_fields(fields, to_host(words, count), bits);
  return fields;
}

template <class Element>
std::size_t bytes_of(const DeviceBuffer<Element>& buffer) {
  return buffer.size() * sizeof(Element);
}

}  // namespace

template <class T>
LayerMasks<T>::LayerMasks(MaskFormat format, const Sizes& sizes) {
  if (sizes.head_words > 0) head_active = DeviceBuffer<std::uint32_t>(sizes.head_words);
  if (sizes.pooled > 0) {
    argmax = DeviceBuffer<std::uint32_t>(sizes.pooled / kArgmaxPerWord);
    active = DeviceBuffer<std::uint32_t>(sizes.pooled / kBitsPerWord);
  }
  if (sizes.map == 0) return;
  switch (format) {
    case MaskFormat::none:
      break;
    case MaskFormat::bits:
      bits = DeviceBuffer<std::uint32_t>(sizes.map / kBitsPerWord);
      break;
    case MaskFormat::bytes:
      bytes = DeviceBuffer<std::uint8_t>(sizes.map);
      break;
    case MaskFormat::activation:
      activation = DeviceBuffer<T>(sizes.map);
      break;
  }
}

template <class T>
std::size_t LayerMasks<T>::device_bytes() const {
  return bytes_of(bits) + bytes_of(bytes) + bytes_of(activation) + bytes_of(argmax) + bytes_of(active) +
         bytes_of(head_active);
}

template <class T>
void* LayerMasks<T>::mask(MaskFormat format, std::size_t element) const {
  switch (format) {
    case MaskFormat::none:
      break;
    case MaskFormat::bits:
      return bits.data() + element / kBitsPerWord;
    case MaskFormat::bytes:
      return bytes.data() + element;
    case MaskFormat::activation:
      return activation.data() + element;
  }
  return nullptr;
}

template <class T>
std::vector<std::uint8_t> LayerMasks<T>::read(MaskFormat format, int image, Extent map,
                                              std::size_t channels) const {
  const std::size_t count = map.positions() * channels;
  if (argmax.size() > 0) {
    const Extent pooled{map.height / 2, map.width / 2};
    const std::size_t outputs = pooled.positions() * channels;
    const auto part = [&](const std::uint32_t* words, std::size_t per_word, int field_bits) {
      return read_fields(words + outputs / per_word * image, outputs / per_word, field_bits);
    };
    const auto largest = part(argmax.data(), kArgmaxPerWord, 2);
    const auto is_active = part(active.data(), kBitsPerWord, 1);
    std::vector<std::uint8_t> mask(count, 0);
    for (std::size_t output = 0; output < outputs; ++output) {
      const std::size_t position = output / channels;
      const std::size_t y = position / pooled.width * 2 + largest[output] / 2;
      const std::size_t x = position % pooled.width * 2 + largest[output] % 2;
      mask[(y * map.width + x) * channels + output % channels] = is_active[output];
    }
    return mask;
  }
  switch (format) {
    case MaskFormat::none:
      break;
    case MaskFormat::bits:
      return read_fields(bits.data() + count / kBitsPerWord * image, count / kBitsPerWord, 1);
    case MaskFormat::bytes:
      return to_host(bytes.data() + count * image, count);
    case MaskFormat::activation: {
      std::vector<std::uint8_t> mask;
      for (const T value : to_host(activation.data() + count * image, count))
        mask.push_back(kernels::to_float(value) > 0.f ? 1 : 0);
      return mask;
    }
  }
  return {};
}

template <class T>
std::vector<std::uint8_t> LayerMasks<T>::read_head(int head, std::size_t positions) const {
  const std::size_t words = kernels::ceil_div<std::size_t>(positions, kBitsPerWord);
  std::vector<std::uint8_t> mask = read_fields(head_active.data() + words * head, words, 1);
  mask.resize(positions);
  return mask;
}

template struct LayerMasks<float>;
template struct LayerMasks<kernels::Half>;
template struct LayerMasks<kernels::Bfloat16>;

}  // namespace filterscope::cuda
