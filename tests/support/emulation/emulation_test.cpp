// The emulated device detects faulty accesses to memory and missing barriers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/common/global.h"
#include "kernels/common/launch.h"
#include "kernels/common/reduce.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

using kernels::Global;
using kernels::launch;
using testing::HasSubstr;
using testing::ThrowsMessage;

class EmulationTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(EmulationTest);

void copy_shifted(Global<const float> from, Global<float> to, int shift) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  to.store(i, from.load(i + shift));
}

TEST_P(EmulationTest, AnAccessBeyondAnAllocationFails) {
  const auto from = test::upload(std::vector<float>(64, 1.f));
  const auto to = test::poisoned<float>(64);
  launch("copy", copy_shifted, {dim3(2), dim3(32)}, nullptr, from.data(), to.data(), 0);
  EXPECT_THAT(test::download(to), testing::Each(1.f));
  EXPECT_THAT(
      [&] {
        launch("copy", copy_shifted, {dim3(2), dim3(32)}, nullptr, from.data(), to.data(), 1);
      },
      ThrowsMessage<emulation::Error>(
          HasSubstr("kernel copy, block (1, 0, 0), thread (31, 0, 0): access to 4 bytes at offset 256")));
  EXPECT_THAT(
      [&] {
        launch("copy", copy_shifted, {dim3(2), dim3(32)}, nullptr, from.data(), to.data(), -1);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("offset -4")));
  EXPECT_THAT(
      [&] {
        launch("copy", copy_shifted, {dim3(2), dim3(32)}, nullptr, nullptr, to.data(), 0);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("null pointer")));
  std::vector<float> host(64);
  EXPECT_THAT(
      [&] {
        launch("copy", copy_shifted, {dim3(2), dim3(32)}, nullptr, host.data(), to.data(), 0);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("not to device memory")));
}

void load_vectors(Global<const float> from, int first) {
  (void)from.load_vector<4>(first);
}

TEST_P(EmulationTest, AMisalignedVectorFails) {
  const auto from = test::upload(std::vector<float>(64, 1.f));
  launch("load", load_vectors, {dim3(1), dim3(1)}, nullptr, from.data(), 4);
  EXPECT_THAT(
      [&] {
        launch("load", load_vectors, {dim3(1), dim3(1)}, nullptr, from.data(), 6);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("misaligned")));
}

void use_nothing(int) {}

TEST_P(EmulationTest, SharedMemoryIsThatOfTheSmallestDevices) {
  const auto run = [](std::size_t kilobytes) {
    launch("use", use_nothing, {dim3(1), dim3(1), kilobytes * 1024}, nullptr, 0);
  };
  run(99);
  EXPECT_THAT([&] { run(100); }, ThrowsMessage<emulation::Error>(HasSubstr("on some devices")));
  EXPECT_THAT([&] { run(228); }, ThrowsMessage<emulation::Error>(HasSubstr("than a block may have")));
}

template <bool kBarrier>
void reverse(Global<float> values) {
  FILTERSCOPE_SHARED(float, tile, 64);
  tile[threadIdx.x] = values.load(threadIdx.x);
  if constexpr (kBarrier) __syncthreads();
  values.store(threadIdx.x, tile[63 - threadIdx.x]);
}

TEST_P(EmulationTest, AMissingBarrierShows) {
  std::vector<float> values(64);
  for (int i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
  const std::vector<float> reversed(values.rbegin(), values.rend());
  const auto with = test::upload(values);
  launch("reverse", reverse<true>, {dim3(1), dim3(64)}, nullptr, with.data());
  EXPECT_EQ(test::download(with), reversed);
  const auto without = test::upload(values);
  launch("reverse", reverse<false>, {dim3(1), dim3(64)}, nullptr, without.data());
  EXPECT_NE(test::download(without), reversed);
}

// One warp hands values to the other after a shuffle, which takes time.
template <bool kBarrier>
void hand_over(Global<int> values) {
  FILTERSCOPE_SHARED(int, shared, 64);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int from = static_cast<int>(threadIdx.x / 32);
  for (int turn = 0; turn < 2; ++turn) {
    if (turn == from) shared[from * 32 + lane] = __shfl_sync(kernels::kFullWarp, lane, 31 - lane);
    if constexpr (kBarrier) __syncthreads();
    if (turn != from) values.store(turn * 32 + lane, shared[turn * 32 + lane]);
  }
}

TEST_P(EmulationTest, AWarpDoesNotWaitForAnother) {
  std::vector<int> expected(64);
  for (int i = 0; i < 64; ++i) expected[i] = 31 - i % 32;
  const auto with = test::poisoned<int>(64);
  launch("hand over", hand_over<true>, {dim3(1), dim3(64)}, nullptr, with.data());
  EXPECT_EQ(test::download(with), expected);
  const auto without = test::poisoned<int>(64);
  launch("hand over", hand_over<false>, {dim3(1), dim3(64)}, nullptr, without.data());
  EXPECT_NE(test::download(without), expected);
}

void leave_before_barrier() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}
void leave_before_shuffle() {
  if (threadIdx.x == 7) return;
  (void)__shfl_sync(kernels::kFullWarp, 1, 0);
}
void mixed_operations() {
  if (threadIdx.x < 16) {
    (void)__shfl_sync(kernels::kFullWarp, 1, 0);
  } else {
    (void)__ballot_sync(kernels::kFullWarp, true);
  }
}
void index_beyond_shared() {
  FILTERSCOPE_SHARED(float, tile, 8);
  tile[threadIdx.x] = 0.f;
}

TEST_P(EmulationTest, ThreadsThatDoNotMeetFail) {
  EXPECT_THAT(
      [] {
        launch("leave", leave_before_barrier, {dim3(1), dim3(64)}, nullptr);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("63 threads wait at a barrier")));
  EXPECT_THAT(
      [] {
        launch("leave", leave_before_shuffle, {dim3(1), dim3(64)}, nullptr);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("waits in shfl for lanes that never come")));
  EXPECT_THAT(
      [] {
        launch("mixed", mixed_operations, {dim3(1), dim3(32)}, nullptr);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("two operations at once")));
  EXPECT_THAT(
      [] {
        launch("index", index_beyond_shared, {dim3(1), dim3(9)}, nullptr);
      },
      ThrowsMessage<emulation::Error>(HasSubstr("index 8 into a shared array of 8")));
}

void sum_blocks(Global<const float> values, Global<float> sums) {
  const float sum = kernels::block_reduce<kernels::Sum, 96>(values.load(blockIdx.x * 96 + threadIdx.x));
  const float again = kernels::block_reduce<kernels::Maximum, 96>(sum);
  sums.store(blockIdx.x * 96 + threadIdx.x, again);
}

TEST_P(EmulationTest, Reduces) {
  std::vector<float> values(3 * 96);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
  const auto device = test::upload(values);
  const auto sums = test::poisoned<float>(values.size());
  launch("sum", sum_blocks, {dim3(3), dim3(96)}, nullptr, device.data(), sums.data());
  const std::vector<float> actual = test::download(sums);
  for (int block = 0; block < 3; ++block) {
    float expected = 0;
    for (int i = 0; i < 96; ++i) expected += values[block * 96 + i];
    for (int i = 0; i < 96; ++i) EXPECT_EQ(actual[block * 96 + i], expected);
  }
}

TEST_P(EmulationTest, HalfIsBinary16) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const __half value{static_cast<std::uint16_t>(bits)};
    const float wide = __half2float(value);
    if (std::isnan(wide)) continue;
    EXPECT_EQ(__float2half_rn(wide).bits, value.bits);
  }
  EXPECT_EQ(__half2float(__float2half_rn(1.f + 0x1p-11f)), 1.f);  // A tie, to even.
  EXPECT_EQ(__half2float(__float2half_rn(1.f + 3 * 0x1p-11f)), 1.f + 0x1p-9f);
  EXPECT_EQ(__half2float(__float2half_rn(0x1p-25f)), 0.f);
  EXPECT_EQ(__half2float(__float2half_rn(0x1.8p-25f)), 0x1p-24f);
  EXPECT_EQ(__half2float(__float2half_rn(65519.f)), 65504.f);
  EXPECT_TRUE(std::isinf(__half2float(__float2half_rn(65520.f))));
  EXPECT_EQ(__bfloat162float(__float2bfloat16_rn(1.f + 0x1p-8f)), 1.f);
  EXPECT_EQ(__bfloat162float(__float2bfloat16_rn(1.f + 3 * 0x1p-8f)), 1.f + 0x1p-6f);
}

}  // namespace
}  // namespace filterscope
