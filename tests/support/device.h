#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "host/cuda/runtime.h"
#include "kernels/common/types.h"

/// Support for tests of kernels. The same test bodies are built twice: against the emulated device, which
/// checks every access, and, in builds with CUDA, for a real device; these are skipped if there is none.
namespace filterscope::test {

#if defined(FILTERSCOPE_EMULATED)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

/// In the emulation, each test runs with the threads of a block in ascending, descending and shuffled order,
/// which uncovers missing barriers.
class DeviceTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override;
  void TearDown() override;
};
/// Instantiates the tests of a suite derived from DeviceTest.
std::vector<std::string> thread_orders();
#define FILTERSCOPE_DEVICE_TEST_SUITE(Suite)                                                       \
  INSTANTIATE_TEST_SUITE_P(Device, Suite, testing::ValuesIn(::filterscope::test::thread_orders()), \
                           [](const auto& order) { return order.param; })

/// Device memory that holds `values`.
template <class T>
cuda::DeviceBuffer<T> upload(const std::vector<T>& values) {
  return cuda::DeviceBuffer<T>(std::span<const T>(values));
}
/// Device memory filled with 0xff bytes: NaN in every floating-point type.
template <class T>
cuda::DeviceBuffer<T> poisoned(std::size_t size) {
  cuda::DeviceBuffer<T> buffer(size);
  cuda::check(cudaMemset(buffer.data(), 0xff, size * sizeof(T)), "poisoning");
  return buffer;
}
/// Waits for the device, and copies its memory.
template <class T>
std::vector<T> download(const cuda::DeviceBuffer<T>& buffer) {
  std::vector<T> values(buffer.size());
  cuda::check(cudaDeviceSynchronize(), "running the kernel");
  cuda::check(cudaMemcpy(values.data(), buffer.data(), values.size() * sizeof(T), cudaMemcpyDeviceToHost),
              "copying from the device");
  return values;
}

/// The values rounded to T.
template <class T>
std::vector<T> round_to(const std::vector<float>& values) {
  std::vector<T> rounded(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) rounded[i] = kernels::from_float<T>(values[i]);
  return rounded;
}
template <class T>
std::vector<float> widen(const std::vector<T>& values) {
  std::vector<float> wide(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) wide[i] = kernels::to_float(values[i]);
  return wide;
}

/// Half a unit in the last place of T around 1: the relative error of one rounding.
template <class T>
constexpr double kRounding = 0;
template <>
inline constexpr double kRounding<float> = 0x1p-24;
template <>
inline constexpr double kRounding<kernels::Half> = 0x1p-11;
template <>
inline constexpr double kRounding<kernels::Bfloat16> = 0x1p-8;

}  // namespace filterscope::test
