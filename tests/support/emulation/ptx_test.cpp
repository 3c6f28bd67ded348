// The instructions of kernels/ptx on the emulated device: their results, and the mistakes in their use that
// it detects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/common/global.h"
#include "kernels/common/launch.h"
#include "kernels/ptx/cp_async.h"
#include "kernels/ptx/ldmatrix.h"
#include "kernels/ptx/mma.h"
#include "kernels/ptx/tma.h"
#include "kernels/ptx/wgmma.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

using kernels::Global;
using kernels::launch;
using testing::HasSubstr;
using testing::ThrowsMessage;

class EmulatedPtxTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(EmulatedPtxTest);

// Computes one 16x8 tile of A B, A [16][16] row-major and B [8][16] (column-major), through shared memory.
// Unless it waits in time, it reads data that cp.async has not copied yet.
enum class Wait { in_time, late, never };
template <class T, Wait kWait>
void multiply(Global<const T> a, Global<const T> b, Global<float> product) {
  FILTERSCOPE_SHARED(T, shared_a, 16 * 16);
  FILTERSCOPE_SHARED(T, shared_b, 16 * 16);
  const int lane = static_cast<int>(threadIdx.x);
  for (int half = 0; half < 2; ++half) {
    const int at = lane % 16 * 16 + half * 8;
    kernels::ptx::cp_async_16(
        lane < 16 ? &shared_a[at] : &shared_b[at],
        (lane < 16 ? a : b).template vector_address<8>(lane < 16 || lane % 16 < 8 ? at : 0),
        lane < 16 || lane % 16 < 8);
  }
  kernels::ptx::cp_async_commit();
  if constexpr (kWait == Wait::in_time) kernels::ptx::cp_async_wait<0>();
  __syncthreads();
  std::uint32_t fragment_a[4];
  std::uint32_t fragment_b[4];
  kernels::ptx::ldmatrix_x4(fragment_a, &shared_a[lane % 16 * 16 + lane / 16 * 8]);
  kernels::ptx::ldmatrix_x4(fragment_b, &shared_b[lane % 16 * 16 + lane / 16 * 8]);
  float sums[4] = {0, 0, 0, 0};
  kernels::ptx::mma_m16n8k16<T>(sums, fragment_a, {fragment_b[0], fragment_b[2]});
  for (int i = 0; i < 4; ++i) product.store((lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2, sums[i]);
  if constexpr (kWait == Wait::late) kernels::ptx::cp_async_wait<0>();
}

template <class T>
void check_product() {
  const std::vector<float> a = test::widen(test::round_to<T>(test::random_values(256, 1, -1.f)));
  const std::vector<float> b = test::widen(test::round_to<T>(test::random_values(128, 2, -1.f)));
  const auto device_a = test::upload(test::round_to<T>(a));
  const auto device_b = test::upload(test::round_to<T>(b));
  const auto product = test::poisoned<float>(128);
  launch("multiply", multiply<T, Wait::in_time>, {dim3(1), dim3(32)}, nullptr, device_a.data(),
         device_b.data(), product.data());
  const std::vector<float> actual = test::download(product);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      double expected = 0;
      for (int k = 0; k < 16; ++k) expected += static_cast<double>(a[row * 16 + k]) * b[column * 16 + k];
      EXPECT_NEAR(actual[row * 8 + column], expected, 1e-5);
    }
  }
  launch("multiply", multiply<T, Wait::late>, {dim3(1), dim3(32)}, nullptr, device_a.data(), device_b.data(),
         product.data());
  EXPECT_TRUE(std::isnan(test::download(product)[0]));
  EXPECT_THAT(
      [&] {
        launch("multiply", multiply<T, Wait::never>, {dim3(1), dim3(32)}, nullptr, device_a.data(),
               device_b.data(), product.data());
      },
      ThrowsMessage<emulation::Error>(HasSubstr("left copies of cp.async without waiting")));
}

template <int kRowElements>
void load_matrices() {
  FILTERSCOPE_SHARED(kernels::Half, rows, 32 * kRowElements);
  std::uint32_t fragment[4];
  kernels::ptx::ldmatrix_x4(fragment, &rows[threadIdx.x * kRowElements]);
}

TEST_P(EmulatedPtxTest, CountsBankConflictsOfLdmatrix) {
  const long before = emulation::ldmatrix_bank_conflicts();
  launch("load", load_matrices<8>, {dim3(1), dim3(32)}, nullptr);
  launch("load", load_matrices<24>, {dim3(1), dim3(32)}, nullptr);
  EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), before);
  launch("load", load_matrices<16>, {dim3(1), dim3(32)}, nullptr);
  EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), before + 4 * 4);
}

TEST_P(EmulatedPtxTest, MultipliesMatrices) {
  check_product<kernels::Half>();
  check_product<kernels::Bfloat16>();
}

// One of four warps waits for data that the others write.
template <int kArrivals>
void gather(int reader, Global<int> result) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  void* const barrier = memory + 0;
  const int warp = static_cast<int>(threadIdx.x / 32);
  if (threadIdx.x == 0) kernels::ptx::mbarrier_init(barrier, kArrivals);
  __syncthreads();
  if (threadIdx.x % 32 != 0) return;
  if (warp == reader) kernels::ptx::mbarrier_wait(barrier, 0);
  memory[8 + warp] = 1;
  if (warp != reader) {
    kernels::ptx::mbarrier_arrive(barrier);
  } else {
    result.store(0, memory[8] + memory[9] + memory[10] + memory[11]);
  }
}

// A warp that can continue does so at once, before those that it should have waited for.
TEST_P(EmulatedPtxTest, AWarpThatWaitsForTooLittleFindsTooLittle) {
  int right = 0;
  for (int reader = 0; reader < 4; ++reader) {
    const auto run = [&]<int kArrivals>(std::integral_constant<int, kArrivals>) {
      const auto result = test::poisoned<int>(1);
      launch("gather", gather<kArrivals>, {dim3(1), dim3(128), 16}, nullptr, reader, result.data());
      return test::download(result)[0];
    };
    EXPECT_EQ(run(std::integral_constant<int, 3>{}), 4);
    if (run(std::integral_constant<int, 1>{}) == 4) ++right;
  }
  // The last warp in turn comes late anyway; the one before it sees two phases completed, which looks like
  // none.
  EXPECT_EQ(right, 2);
}

// One lane arrives for its warp, after all its lanes have written.
template <bool kTogether>
void gather_lanes(int reader, int arriving, Global<int> result) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  void* const barrier = memory + 0;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (threadIdx.x == 0) kernels::ptx::mbarrier_init(barrier, 1);
  __syncthreads();
  if (warp != reader) {
    memory[8 + lane] = 1;
    if constexpr (kTogether) __syncwarp();
    if (lane == arriving) kernels::ptx::mbarrier_arrive(barrier);
  } else if (lane == 0) {
    kernels::ptx::mbarrier_wait(barrier, 0);
    int sum = 0;
    for (int i = 0; i < 32; ++i) sum += memory[8 + i];
    result.store(0, sum);
  }
}

TEST_P(EmulatedPtxTest, ALaneThatArrivesBeforeTheOthersOfItsWarpIsTooEarly) {
  int right = 0;
  for (int reader = 0; reader < 2; ++reader) {
    for (int arriving = 0; arriving < 32; ++arriving) {
      const auto run = [&]<bool kTogether>(std::bool_constant<kTogether>) {
        const auto result = test::poisoned<int>(1);
        launch("gather", gather_lanes<kTogether>, {dim3(1), dim3(64), 40}, nullptr, reader, arriving,
               result.data());
        return test::download(result)[0];
      };
      EXPECT_EQ(run(std::true_type{}), 32);
      if (run(std::false_type{}) == 32) ++right;
    }
  }
  // Any arriving lane is right if the reader's turn comes last; if it comes first, only the last lane is.
  EXPECT_EQ(right, 32 + 1);
}

constexpr int kPairRows = 6;  // A pair from each of three groups.

// Copies the box that begins in this row and column of a matrix of pairs, and stores it in its order of
// arrival.
void copy_pairs(kernels::TensorMap map, int row, int column, bool as_rows, Global<std::uint16_t> to) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  namespace ptx = kernels::ptx;
  void* const barrier = memory + 1024;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    ptx::mbarrier_init(barrier, 1);
    ptx::mbarrier_init_fence();
    ptx::mbarrier_arrive_expecting(barrier, kPairRows * kernels::kBoxRowBytes);
    if (as_rows) {
      ptx::tma_load(memory + 0, map, row, column, barrier);
    } else {
      ptx::tma_load_pairs(memory + 0, map, row, column, barrier);
    }
  }
  __syncthreads();
  ptx::mbarrier_wait(barrier, 0);
  for (int at = thread; at < kPairRows * 64; at += 32) {
    const int chunk = at % 64 / 8 ^ at / 64 % 8;  // Swizzled.
    to.store(at, *reinterpret_cast<std::uint16_t*>(&memory[at / 64 * 128 + chunk * 16 + at % 8 * 2]));
  }
}

TEST_P(EmulatedPtxTest, CopiesPairsOfRowsOfGroups) {
  // In 3 groups of 8 rows and 128 columns, each element is its own index.
  std::vector<kernels::Half> places;
  for (int i = 0; i < 24 * 128; ++i)
    places.push_back(std::bit_cast<kernels::Half>(static_cast<std::uint16_t>(i)));
  const auto matrix = test::upload(places);
  const auto map = kernels::make_pairs_tensor_map(matrix.data(), 24, 128, kPairRows / 2);
  const auto box = [&](int row, int column, bool as_rows = false) {
    const auto to = test::poisoned<std::uint16_t>(kPairRows * 64);
    launch("copy_pairs", copy_pairs, {dim3(1), dim3(32), 1024 + 8}, nullptr, map, row, column, as_rows,
           to.data());
    return test::download(to);
  };
  const auto expect_box = [&](int row, int column) {
    const auto elements = box(row, column);
    for (int at = 0; at < kPairRows * 64; ++at) {
      const int from = row + at / 128 * 8 + at / 64 % 2;
      EXPECT_EQ(elements[at], from < 24 ? from * 128 + column + at % 64 : 0) << at;
    }
  };
  expect_box(0, 0);
  expect_box(6, 64);
  expect_box(12, 0);  // Its last group is beyond the matrix.
  EXPECT_THAT([&] { box(3, 0); }, ThrowsMessage<emulation::Error>(HasSubstr("middle of a pair")));
  EXPECT_THAT([&] { box(0, 0, true); }, ThrowsMessage<emulation::Error>(HasSubstr("boxes are of pairs")));
  EXPECT_THROW(kernels::make_pairs_tensor_map(matrix.data(), 20, 128, 2), kernels::LaunchError);
}

// Mistakes that a warpgroup can make.
enum class Fault {
  none,
  no_wait_for_copies,
  no_fence,
  reused_operand,            // Overwritten while a product reads it.
  reused_matrix,             // The same, in shared memory.
  no_wait_for_accumulators,  // The accumulators are read at once.
  no_wait_at_all,
  missing_arrival,
  too_many_arrivals,
};

// [64][64] = A B with A [64][64] row-major and B [64][64] column-major, which the copy engine loads.
template <Fault kFault>
void multiply_as_warpgroup(Global<const kernels::Half> a, kernels::TensorMap b, Global<float> product) {
  FILTERSCOPE_DYNAMIC_SHARED(unsigned char, memory);
  namespace ptx = kernels::ptx;
  void* const barrier = memory + 64 * 128;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    ptx::mbarrier_init(barrier, kFault == Fault::missing_arrival ? 2 : 1);
    ptx::mbarrier_init_fence();
  }
  __syncthreads();
  if (thread == 0) {
    ptx::mbarrier_arrive_expecting(barrier, 64 * 128);
    if constexpr (kFault == Fault::too_many_arrivals) ptx::mbarrier_arrive(barrier);
    ptx::tma_load(memory + 0, b, 0, 0, barrier);
  }
  const int row = thread / 32 * 16 + thread % 32 / 4;
  const auto load = [&](std::uint32_t(&operand)[4], int step) {
    for (int i = 0; i < 4; ++i) {
      const int at = (row + i % 2 * 8) * 64 + step * 16 + thread % 4 * 2 + i / 2 * 8;
      operand[i] = std::bit_cast<std::uint32_t>(a.load_vector<2>(at));
    }
  };
  if constexpr (kFault != Fault::no_wait_for_copies) ptx::mbarrier_wait(barrier, 0);
  float sums[32];
  std::uint32_t operands[4][4];
  const std::uint64_t descriptor = ptx::wgmma_descriptor(memory + 0);
  for (int step = 0; step < 4; ++step) load(operands[step], step);
  if constexpr (kFault != Fault::no_fence) ptx::wgmma_fence();
  for (int step = 0; step < 4; ++step) {
    ptx::wgmma_m64k16<kernels::Half>(sums, operands[step], descriptor + step * ptx::kDescriptorStep,
                                     step > 0);
  }
  ptx::wgmma_commit();
  if constexpr (kFault == Fault::reused_operand) load(operands[3], 0);
  if constexpr (kFault == Fault::reused_matrix) memory[thread] = 0;
  if constexpr (kFault != Fault::no_wait_for_accumulators && kFault != Fault::no_wait_at_all) {
    ptx::wgmma_wait<0>();
    ptx::wgmma_done(sums);
  }
  for (int i = 0; i < 32; ++i) {
    product.store((row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + thread % 4 * 2 + i % 2, sums[i]);
  }
  if constexpr (kFault == Fault::no_wait_for_accumulators) ptx::wgmma_wait<0>();
  if constexpr (kFault == Fault::no_wait_for_copies) ptx::mbarrier_wait(barrier, 0);
}

TEST_P(EmulatedPtxTest, MultipliesAsAWarpgroup) {
  const auto values = [](int seed) {
    return test::widen(test::round_to<kernels::Half>(test::random_values(64 * 64, seed, -1.f)));
  };
  const std::vector<float> a = values(1);
  const std::vector<float> b = values(2);
  const auto device_a = test::upload(test::round_to<kernels::Half>(a));
  const auto device_b = test::upload(test::round_to<kernels::Half>(b));
  const kernels::TensorMap map = kernels::make_tensor_map(device_b.data(), 64, 64, 64);
  const auto run = [&]<Fault kFault>(std::integral_constant<Fault, kFault>) {
    const auto product = test::poisoned<float>(64 * 64);
    launch("multiply", multiply_as_warpgroup<kFault>, {dim3(1), dim3(128), 64 * 128 + 8}, nullptr,
           device_a.data(), map, product.data());
    const std::vector<float> actual = test::download(product);
    for (int i = 0; i < 64 * 64; ++i) {
      double expected = 0;
      for (int k = 0; k < 64; ++k) expected += static_cast<double>(a[i / 64 * 64 + k]) * b[i % 64 * 64 + k];
      if (!(std::abs(actual[i] - expected) <= 1e-5)) return false;
    }
    return true;
  };
  EXPECT_TRUE(run(std::integral_constant<Fault, Fault::none>{}));
  EXPECT_FALSE(run(std::integral_constant<Fault, Fault::no_wait_for_copies>{}));
  EXPECT_FALSE(run(std::integral_constant<Fault, Fault::reused_operand>{}));
  EXPECT_FALSE(run(std::integral_constant<Fault, Fault::reused_matrix>{}));
  EXPECT_FALSE(run(std::integral_constant<Fault, Fault::no_wait_for_accumulators>{}));
  const auto expect_error = [&](auto fault, const char* message) {
    EXPECT_THAT([&] { run(fault); }, ThrowsMessage<emulation::Error>(HasSubstr(message)));
  };
  expect_error(std::integral_constant<Fault, Fault::no_fence>{}, "without a fence");
  expect_error(std::integral_constant<Fault, Fault::no_wait_at_all>{}, "without waiting for them");
  expect_error(std::integral_constant<Fault, Fault::missing_arrival>{}, "whose phase never ends");
  expect_error(std::integral_constant<Fault, Fault::too_many_arrivals>{}, "more threads arrive");
}

}  // namespace
}  // namespace filterscope
