#include "kernels/relu/relu_mask.h"

#include <gtest/gtest.h>

#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

using kernels::MaskFormat;
using kernels::ReluMask;
class ReluMaskTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(ReluMaskTest);

// One word; less than a block; several blocks and a remainder.
constexpr std::size_t kCounts[] = {32, 32 * 7, 32 * 601};

// A ReLU's output with many exact zeros, some of them negative, and the smallest values of T.
template <class T>
std::vector<T> activation(std::size_t count) {
  std::vector<float> values = test::random_values(count, 3, -1.f, 1.f);
  for (std::size_t i = 0; i < count; ++i) {
    if (values[i] <= 0.f) values[i] = i % 2 == 0 ? 0.f : -0.f;
    if (i % 7 == 0) values[i] = 0x1p-24f;
  }
  return test::round_to<T>(values);
}

std::vector<std::uint32_t> packed(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits(values.size() / 32);
  for (std::size_t i = 0; i < values.size(); ++i) {
    bits[i / 32] |= std::uint32_t{values[i] > 0.f} << i % 32;
  }
  return bits;
}

template <class T>
void check_packing() {
  for (const std::size_t count : kCounts) {
    const std::vector<T> values = activation<T>(count);
    const auto device_values = test::upload(values);
    const auto bits = test::poisoned<std::uint32_t>(count / 32);
    kernels::pack_relu_mask(device_values.data(), static_cast<std::int64_t>(count), bits.data(), nullptr);
    EXPECT_EQ(test::download(bits), packed(test::widen(values))) << count << " values";
  }
}

TEST_P(ReluMaskTest, PacksElementsAboveZero) {
  check_packing<float>();
  check_packing<kernels::Half>();
  check_packing<kernels::Bfloat16>();
}

template <class T>
void check_applying() {
  for (const std::size_t count : kCounts) {
    const std::vector<T> values = activation<T>(count);
    const std::vector<float> wide = test::widen(values);
    const std::vector<T> gradient = test::round_to<T>(test::random_values(count, 4, -1.f, 1.f));
    std::vector<float> masked = test::widen(gradient);
    std::vector<std::uint8_t> bytes(count);
    for (std::size_t i = 0; i < count; ++i) {
      bytes[i] = wide[i] > 0.f;
      if (!(wide[i] > 0.f)) masked[i] = 0.f;
    }
    const auto device_bits = test::upload(packed(wide));
    const auto device_bytes = test::upload(bytes);
    const auto device_values = test::upload(values);
    for (const ReluMask& mask : {ReluMask{}, ReluMask{MaskFormat::bits, device_bits.data()},
                                 ReluMask{MaskFormat::bytes, device_bytes.data()},
                                 ReluMask{MaskFormat::activation, device_values.data()}}) {
      const auto device_gradient = test::upload(gradient);
      kernels::apply_relu_mask(device_gradient.data(), static_cast<std::int64_t>(count), mask, nullptr);
      EXPECT_EQ(test::widen(test::download(device_gradient)),
                mask.format == MaskFormat::none ? test::widen(gradient) : masked)
          << count << " values, mask " << static_cast<int>(mask.format);
    }
  }
}

TEST_P(ReluMaskTest, ZeroesInactiveGradients) {
  check_applying<float>();
  check_applying<kernels::Half>();
  check_applying<kernels::Bfloat16>();
}

}  // namespace
}  // namespace filterscope
