// The emulated device finds the mistakes it is made to find.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/common/global.h"
#include "kernels/common/launch.h"
#include "kernels/common/reduce.h"
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

// The second warp gives the first one something by shuffles, which take their time.
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

// One 16x8 tile of A B, A [16][16] row-major and B [8][16] (column-major), through shared memory. Without
// waiting in time it reads what cp.async has not brought yet.
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

TEST_P(EmulationTest, CountsBankConflictsOfLdmatrix) {
  const long before = emulation::ldmatrix_bank_conflicts();
  launch("load", load_matrices<8>, {dim3(1), dim3(32)}, nullptr);
  launch("load", load_matrices<24>, {dim3(1), dim3(32)}, nullptr);
  EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), before);
  launch("load", load_matrices<16>, {dim3(1), dim3(32)}, nullptr);
  EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), before + 4 * 4);
}

TEST_P(EmulationTest, MultipliesMatrices) {
  check_product<kernels::Half>();
  check_product<kernels::Bfloat16>();
}

// Of four warps one waits for what the others have written.
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

// Whoever can go on does so at once, before those it should have waited for.
TEST_P(EmulationTest, AWarpThatWaitsForTooLittleFindsTooLittle) {
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
  // The warp whose turn is last comes late anyway, and that before it finds two phases over, as if none was.
  EXPECT_EQ(right, 2);
}

// One lane arrives for its warp, whose lanes have all written.
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

TEST_P(EmulationTest, ALaneThatArrivesBeforeTheOthersOfItsWarpIsTooEarly) {
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
  // Whatever lane arrives where the reader's turn comes last, and where it comes first the lane that is last.
  EXPECT_EQ(right, 32 + 1);
}

constexpr int kPairRows = 6;  // Of three groups.

// The box that begins in this row and column of a matrix of pairs, in the order in which it came.
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

TEST_P(EmulationTest, CopiesPairsOfRowsOfGroups) {
  // Of 3 groups of 8 rows and 128 columns each element is its place.
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

// What a warpgroup can do wrong.
enum class Fault {
  none,
  no_wait_for_copies,
  no_fence,
  reused_operand,    // While a product reads it.
  reused_matrix,     // The same, in shared memory.
  no_wait_for_sums,  // Reads them at once.
  no_wait_at_all,
  missing_arrival,
  too_many_arrivals,
};

// [64][64] = A B with A [64][64] row-major and B [64][64] column-major, which comes by the copy engine.
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
  if constexpr (kFault != Fault::no_wait_for_sums && kFault != Fault::no_wait_at_all) {
    ptx::wgmma_wait<0>();
    ptx::wgmma_done(sums);
  }
  for (int i = 0; i < 32; ++i) {
    product.store((row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + thread % 4 * 2 + i % 2, sums[i]);
  }
  if constexpr (kFault == Fault::no_wait_for_sums) ptx::wgmma_wait<0>();
  if constexpr (kFault == Fault::no_wait_for_copies) ptx::mbarrier_wait(barrier, 0);
}

TEST_P(EmulationTest, MultipliesAsAWarpgroup) {
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
  EXPECT_FALSE(run(std::integral_constant<Fault, Fault::no_wait_for_sums>{}));
  const auto expect_error = [&](auto fault, const char* message) {
    EXPECT_THAT([&] { run(fault); }, ThrowsMessage<emulation::Error>(HasSubstr(message)));
  };
  expect_error(std::integral_constant<Fault, Fault::no_fence>{}, "without a fence");
  expect_error(std::integral_constant<Fault, Fault::no_wait_at_all>{}, "without waiting for them");
  expect_error(std::integral_constant<Fault, Fault::missing_arrival>{}, "whose phase never ends");
  expect_error(std::integral_constant<Fault, Fault::too_many_arrivals>{}, "more threads arrive");
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

TEST_P(EmulationTest, LateStreamsRunWhenTheyAreWaitedFor) {
  emulation::set_lateness(emulation::Lateness::late);
  const cuda::Stream first;
  const cuda::Stream second;
  const cuda::Event written;
  const cuda::PinnedBuffer<int> source(1);
  const cuda::PinnedBuffer<int> back(1);
  const cuda::DeviceBuffer<int> memory(1);
  const auto copy = [](const auto& to, const auto& from, cudaMemcpyKind kind, cudaStream_t stream) {
    cuda::check(cudaMemcpyAsync(to.data(), from.data(), sizeof(int), kind, stream), "copying");
  };
  *source.data() = 1;
  *back.data() = 0;
  copy(memory, source, cudaMemcpyHostToDevice, first);
  // Not waited for: what the host changes meanwhile is what is copied.
  *source.data() = 2;
  written.record(first);
  EXPECT_EQ(cudaStreamWaitEvent(second, written), cudaSuccess);
  copy(back, memory, cudaMemcpyDeviceToHost, second);
  EXPECT_EQ(*back.data(), 0);
  second.synchronise();
  EXPECT_EQ(*back.data(), 2);
  EXPECT_TRUE(written.passed());

  // A question is answered with no until enough of them have been asked.
  *source.data() = 3;
  copy(memory, source, cudaMemcpyHostToDevice, first);
  written.record(first);
  while (!written.passed()) {
  }
  copy(back, memory, cudaMemcpyDeviceToHost, second);
  second.synchronise();
  EXPECT_EQ(*back.data(), 3);
  emulation::set_lateness(emulation::Lateness::none);
}

TEST_P(EmulationTest, GraphsReplayWhatWasCaptured) {
  const cuda::Stream stream;
  const auto values = test::upload(std::vector<float>(64, 3.f));
  const auto copied = test::poisoned<float>(64);
  const cuda::Graph graph = cuda::Graph::capture(stream, [&] {
    launch("copy", copy_shifted, {dim3(2), dim3(32)}, stream, values.data(), copied.data(), 0);
  });
  EXPECT_TRUE(std::isnan(test::download(copied)[0]));
  graph.launch(stream);
  EXPECT_THAT(test::download(copied), testing::Each(3.f));
}

TEST_P(EmulationTest, MemoryIsLimited) {
  emulation::set_memory(emulation::counters().allocated_bytes + 1000);
  EXPECT_NO_THROW(cuda::DeviceBuffer<float>(250));
  EXPECT_THROW(cuda::DeviceBuffer<float>(251), OutOfMemory);
  emulation::set_memory(std::size_t{4} << 30);
}

}  // namespace
}  // namespace filterscope
