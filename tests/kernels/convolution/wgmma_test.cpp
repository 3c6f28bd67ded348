#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "convolution_check.h"
#include "kernels/pool/max_pool.h"

namespace filterscope {
namespace {

using test::check_convolution;
using test::check_input_gradient;
using test::ConvolutionOptions;
using test::ConvolutionShape;

bool takes(int width, int in_channels, int out_channels) {
  return kernels::convolution_wgmma_takes({2, width, in_channels, out_channels});
}

class ConvolutionWgmmaTest : public test::DeviceTest {
 protected:
  void SetUp() override {
    test::DeviceTest::SetUp();
    if (IsSkipped()) return;
    if (!takes(1, 64, 64)) {
      cudaDeviceProp device{};
      ASSERT_EQ(cudaGetDeviceProperties(&device, 0), cudaSuccess);
      ASSERT_NE(device.major, 9) << "the kernels were built without code for sm_90a";
      GTEST_SKIP() << "the device has no wgmma (sm_90a)";
    }
  }
};
FILTERSCOPE_DEVICE_TEST_SUITE(ConvolutionWgmmaTest);

template <class T>
kernels::ConvolutionKernel<T> large() {
  return {"wgmma_large", kernels::convolution_wgmma_large_takes, kernels::convolution_wgmma_large<T>};
}
template <class T>
kernels::ConvolutionKernel<T> usual() {
  return {"wgmma", kernels::convolution_wgmma_takes, kernels::convolution_wgmma<T>};
}

constexpr ConvolutionOptions kFprop{.bias = true, .mask_out = true};
constexpr ConvolutionOptions kDgrad{.mask_in = true};

template <class T>
void check_shapes() {
  const test::ConvolutionLaunch<T> launch = kernels::convolution_wgmma<T>;
  // A part of a tile, down to a single position that has no neighbours.
  check_convolution<T>(launch, {1, 1, 1, 64, 64}, kFprop);
  check_convolution<T>(launch, {2, 2, 3, 64, 128}, kFprop);
  // Several tiles for each block, with the end of one image and the start of the next one, and a partial last
  // tile: with the weights of all tiles in shared memory, and with weights that come anew for each tile.
  check_convolution<T>(launch, {19, 7, 9, 64, 64}, kFprop);
  check_convolution<T>(launch, {11, 7, 9, 192, 64}, kFprop);
  check_convolution<T>(launch, {17, 6, 6, 64, 256}, kFprop);
  check_convolution<T>(launch, {3, 13, 5, 128, 192}, {.bias = true});
  // Options.
  check_convolution<T>(launch, {2, 5, 13, 64, 128}, {});
  check_convolution<T>(launch, {1, 5, 13, 64, 192}, {.mask_out = true, .mask_in = true});
  check_convolution<T>(launch, {1, 5, 13, 64, 64}, {.bias = true, .mask_out = true, .mask_in = true});
  check_input_gradient<T>(launch, {9, 7, 9, 128, 64}, kDgrad);
  check_input_gradient<T>(launch, {5, 13, 5, 64, 128}, kDgrad);
}

TEST_P(ConvolutionWgmmaTest, HalfMatchesReference) {
  check_shapes<kernels::Half>();
}

TEST_P(ConvolutionWgmmaTest, Bfloat16MatchesReference) {
  check_shapes<kernels::Bfloat16>();
}

template <class T>
void check_shapes_of_large_blocks() {
  const test::ConvolutionLaunch<T> launch = kernels::convolution_wgmma_large<T>;
  check_convolution<T>(launch, {1, 1, 1, 64, 64}, kFprop);
  check_convolution<T>(launch, {2, 2, 3, 64, 64}, {});
  // As above: weights that stay, that come anew, and that are of one tile of several.
  check_convolution<T>(launch, {29, 7, 9, 64, 64}, kFprop);
  check_convolution<T>(launch, {13, 7, 9, 192, 64}, {.bias = true});
  check_convolution<T>(launch, {9, 13, 5, 64, 192}, {.bias = true, .mask_out = true, .mask_in = true});
  check_input_gradient<T>(launch, {17, 7, 9, 128, 64}, kDgrad);
}

TEST_P(ConvolutionWgmmaTest, LargeBlocksMatchReference) {
  check_shapes_of_large_blocks<kernels::Half>();
  check_shapes_of_large_blocks<kernels::Bfloat16>();
}

// The wider the map, the fewer tiles of weights have room beside the halo tiles.
TEST_P(ConvolutionWgmmaTest, WideMaps) {
  using kernels::Half;
  const test::ConvolutionLaunch<Half> launch = kernels::convolution_wgmma<Half>;
  check_convolution<Half>(launch, {1, 3, 101, 64, 64}, kFprop);
  check_convolution<Half>(launch, {2, 2, 112, 64, 128}, kFprop);
  int widest = 112;
  while (takes(widest + 1, 64, 128)) ++widest;
  check_convolution<Half>(launch, {1, 2, widest, 64, 128}, kFprop);
  while (takes(widest + 1, 64, 64)) ++widest;
  check_convolution<Half>(launch, {1, 2, widest, 64, 64}, kFprop);
  EXPECT_LT(widest, 1000);
  EXPECT_FALSE(takes(16384, 64, 64));
  widest = 96;
  while (kernels::convolution_wgmma_large_takes({2, widest + 1, 64, 64})) ++widest;
  check_convolution<Half>(kernels::convolution_wgmma_large<Half>, {1, 2, widest, 64, 64}, kFprop);
  EXPECT_LT(widest, 1000);
  EXPECT_FALSE(kernels::convolution_wgmma_large_takes({16384, 16384, 64, 64}));
}

#if defined(FILTERSCOPE_EMULATED)
// Of maps as wide as a multiple of eight. In others, where a warp's windows are of two rows, some rows of a
// matrix are in the same banks.
TEST_P(ConvolutionWgmmaTest, ReadsPositionsWithoutBankConflicts) {
  const test::ConvolutionLaunch<kernels::Half> launch = kernels::convolution_wgmma<kernels::Half>;
  const long before = emulation::ldmatrix_bank_conflicts();
  check_convolution<kernels::Half>(launch, {1, 6, 24, 64, 128}, kFprop);
  check_convolution<kernels::Half>(launch, {1, 4, 48, 64, 64}, kFprop);
  check_convolution<kernels::Half>(kernels::convolution_wgmma_large<kernels::Half>, {1, 4, 48, 64, 64},
                                   kFprop);
  EXPECT_EQ(emulation::ldmatrix_bank_conflicts(), before);
}
#endif

TEST_P(ConvolutionWgmmaTest, TakesMultiplesOf64Channels) {
  EXPECT_TRUE(takes(96, 64, 128));
  EXPECT_FALSE(takes(96, 32, 128));
  EXPECT_FALSE(takes(96, 64, 96));
  EXPECT_TRUE(kernels::convolution_wgmma_large_takes({96, 96, 64, 64}));
  EXPECT_TRUE(kernels::convolution_wgmma_large_takes({48, 48, 128, 64}));
  EXPECT_FALSE(kernels::convolution_wgmma_large_takes({48, 48, 64, 128}));
}

// What a kernel does with a pool is what the usual one does without a pool beside the pool's own kernel, bit
// for bit: the sums are the same.

std::vector<float> small_integers(std::size_t count, std::uint64_t seed) {
  std::vector<float> values = test::random_values(count, seed, -1.5f, 1.5f);
  for (float& value : values) value = std::round(value);
  return values;
}

template <class T>
void check_output_pool(const kernels::ConvolutionKernel<T>& kernel, const ConvolutionShape& shape) {
  SCOPED_TRACE(testing::Message() << kernel.name << " " << shape.images << "x" << shape.height << "x"
                                  << shape.width << ", " << shape.in_channels << " -> "
                                  << shape.out_channels);
  ASSERT_TRUE(kernel.supports(
      {shape.height, shape.width, shape.in_channels, shape.out_channels, kernels::FusedPool::output}));
  const std::size_t outputs = shape.positions() * shape.out_channels;
  // Few distinct sums: many of a window's elements are equal, at zero and above.
  const auto input =
      test::upload(test::round_to<T>(small_integers(shape.positions() * shape.in_channels, 1)));
  const auto weights = test::upload(
      test::round_to<T>(small_integers(std::size_t{9} * shape.in_channels * shape.out_channels, 2)));
  const auto bias = test::upload(small_integers(shape.out_channels, 3));
  const auto map = test::poisoned<T>(outputs);
  kernels::ConvolutionArguments<T> arguments{.input = input.data(),
                                             .weights = weights.data(),
                                             .bias = bias.data(),
                                             .output = map.data(),
                                             .mask_out = nullptr,
                                             .mask_in = nullptr,
                                             .images_count = shape.images,
                                             .height = shape.height,
                                             .width = shape.width,
                                             .in_channels = shape.in_channels,
                                             .out_channels = shape.out_channels};
  kernels::convolution_wgmma<T>(arguments, nullptr);
  struct Pooled {
    decltype(test::poisoned<T>(0)) output;
    decltype(test::poisoned<std::uint32_t>(0)) argmax;
    decltype(test::poisoned<std::uint32_t>(0)) active;
  };
  const auto pooled = [&] {
    return Pooled{test::poisoned<T>(outputs / 4), test::poisoned<std::uint32_t>(outputs / 4 / 16),
                  test::poisoned<std::uint32_t>(outputs / 4 / 32)};
  };
  const Pooled expected = pooled();
  kernels::max_pool<T>({.input = map.data(),
                        .output = expected.output.data(),
                        .argmax = expected.argmax.data(),
                        .active = expected.active.data(),
                        .images_count = shape.images,
                        .height = shape.height,
                        .width = shape.width,
                        .channels = shape.out_channels},
                       nullptr);
  const Pooled got = pooled();
  arguments.output = got.output.data();
  arguments.output_pool = {got.argmax.data(), got.active.data()};
  kernel.launch(arguments, nullptr);
  EXPECT_EQ(test::widen(test::download(got.output)), test::widen(test::download(expected.output)));
  EXPECT_EQ(test::download(got.argmax), test::download(expected.argmax));
  EXPECT_EQ(test::download(got.active), test::download(expected.active));
}

template <class T>
void check_input_pool(const kernels::ConvolutionKernel<T>& kernel, const ConvolutionShape& shape,
                      bool masked) {
  SCOPED_TRACE(testing::Message() << kernel.name << " gradient " << shape.images << "x" << shape.height << "x"
                                  << shape.width << ", " << shape.in_channels << " -> "
                                  << shape.out_channels);
  ASSERT_TRUE(kernel.supports(
      {shape.height, shape.width, shape.in_channels, shape.out_channels, kernels::FusedPool::input}));
  const std::size_t inputs = shape.positions() * shape.in_channels;
  const std::size_t outputs = shape.positions() * shape.out_channels;
  const auto words = [](std::size_t count, std::uint64_t seed) {
    std::vector<std::uint32_t> result(count);
    for (std::size_t i = 0; i < count; ++i)
      result[i] = static_cast<std::uint32_t>((i + seed) * 0x9e3779b97f4a7c15u >> 32);
    return result;
  };
  const auto gradient = test::upload(test::round_to<T>(test::random_values(inputs / 4, 4, -1.f)));
  const auto argmax = test::upload(words(inputs / 4 / 16, 5));
  const auto active = test::upload(words(inputs / 4 / 32, 6));
  const auto mask_in = test::upload(words(outputs / 32, 7));
  const auto weights = test::upload(test::round_to<T>(
      test::random_values(std::size_t{9} * shape.in_channels * shape.out_channels, 8, -1.f)));
  const auto map = test::poisoned<T>(inputs);
  kernels::max_pool_gradient<T>({.output_gradient = gradient.data(),
                                 .argmax = argmax.data(),
                                 .active = active.data(),
                                 .input_gradient = map.data(),
                                 .images_count = shape.images,
                                 .height = shape.height,
                                 .width = shape.width,
                                 .channels = shape.in_channels},
                                nullptr);
  const auto expected = test::poisoned<T>(outputs);
  const auto got = test::poisoned<T>(outputs);
  kernels::ConvolutionArguments<T> arguments{.input = map.data(),
                                             .weights = weights.data(),
                                             .bias = nullptr,
                                             .output = expected.data(),
                                             .mask_out = nullptr,
                                             .mask_in = masked ? mask_in.data() : nullptr,
                                             .images_count = shape.images,
                                             .height = shape.height,
                                             .width = shape.width,
                                             .in_channels = shape.in_channels,
                                             .out_channels = shape.out_channels};
  kernels::convolution_wgmma<T>(arguments, nullptr);
  arguments.input = gradient.data();
  arguments.input_pool = {argmax.data(), active.data()};
  arguments.output = got.data();
  kernel.launch(arguments, nullptr);
  EXPECT_EQ(test::widen(test::download(got)), test::widen(test::download(expected)));
}

// Parts of a tile, down to a single window; several tiles for each block, with windows of two rows and of two
// images in one; weights that stay and weights that come anew; widths that are and are not multiples of
// eight.
const std::vector<ConvolutionShape> kPooledShapes{
    {1, 2, 2, 64, 64},   {3, 4, 6, 64, 128},  {2, 6, 32, 64, 64},  {5, 8, 16, 64, 64},
    {7, 12, 12, 64, 64}, {3, 6, 24, 128, 64}, {9, 6, 6, 128, 256}, {1, 4, 48, 128, 128}};

const std::vector<ConvolutionShape> kPooledShapesOfLargeBlocks{
    {1, 2, 2, 64, 64}, {3, 4, 6, 128, 64}, {2, 6, 32, 64, 192}, {7, 8, 16, 64, 64}, {3, 6, 24, 192, 64}};

TEST_P(ConvolutionWgmmaTest, PoolsItsOutput) {
  using kernels::Half;
  for (const ConvolutionShape& shape : kPooledShapes) check_output_pool(usual<Half>(), shape);
  check_output_pool(usual<kernels::Bfloat16>(), kPooledShapes[1]);
  for (const ConvolutionShape& shape : kPooledShapesOfLargeBlocks) check_output_pool(large<Half>(), shape);
}

TEST_P(ConvolutionWgmmaTest, TakesItsInputThroughAPool) {
  using kernels::Half;
  for (const ConvolutionShape& shape : kPooledShapes) check_input_pool(usual<Half>(), shape, true);
  check_input_pool(usual<kernels::Bfloat16>(), kPooledShapes[1], false);
  for (const ConvolutionShape& shape : kPooledShapesOfLargeBlocks)
    check_input_pool(large<Half>(), shape, true);
}

// As in the network: a tile then covers parts of two rows of windows, or, of the large ones, two whole rows.
TEST_P(ConvolutionWgmmaTest, PoolsWideMaps) {
  for (const auto& kernel : {usual<kernels::Half>(), large<kernels::Half>()}) {
    check_output_pool(kernel, {1, 8, 96, 64, 64});
    check_input_pool(kernel, {1, 6, 96, 64, 64}, false);
  }
}

// A block with several tiles goes on with rings, halo tiles and weights that the last one has left; images
// few enough for a tile each do not. On a device there is work for some tens of milliseconds, time and again:
// for what goes wrong once in many times.
class ManyTiles {
 public:
  using T = kernels::Half;

  // `few` images have no more tiles than a device has multiprocessors.
  ManyTiles(const ConvolutionShape& shape, int few, kernels::FusedPool pool)
      : shape_(shape),
        pool_(pool),
        input_(test::upload(test::round_to<T>(test::random_values(elements(input_elements()), 1, -1.f)))),
        weights_(test::upload(test::round_to<T>(
            test::random_values(std::size_t{9} * shape.in_channels * shape.out_channels, 2, -0.1f, 0.1f)))),
        bias_(test::upload(test::random_values(shape.out_channels, 3, -1.f))),
        bits_(test::upload(words(elements(map_elements()) / 32))),
        argmax_(test::upload(words(elements(input_elements()) / 16))),
        active_(test::upload(words(elements(input_elements()) / 32))),
        expected_(run(usual<T>(), few)) {}

  void check(const kernels::ConvolutionKernel<T>& kernel) {
    SCOPED_TRACE(testing::Message() << kernel.name << ", pool " << static_cast<int>(pool_));
    if (!kernel.supports({shape_.height, shape_.width, shape_.in_channels, shape_.out_channels, pool_}))
      return;
    for (int time = 0; time < (test::kEmulated ? 1 : 6); ++time)
      ASSERT_TRUE(run(kernel, shape_.images) == expected_) << "differs at the " << time + 1 << "th time";
  }

 private:
  std::size_t elements(std::size_t of_image) const { return of_image * shape_.images; }
  std::size_t positions() const { return std::size_t(shape_.height) * shape_.width; }
  std::size_t input_elements() const {
    return positions() * shape_.in_channels / (pool_ == kernels::FusedPool::input ? 4 : 1);
  }
  std::size_t map_elements() const { return positions() * shape_.out_channels; }
  std::size_t output_elements() const {
    return map_elements() / (pool_ == kernels::FusedPool::output ? 4 : 1);
  }
  static std::vector<std::uint32_t> words(std::size_t count) {
    std::vector<std::uint32_t> result(count);
    for (std::size_t i = 0; i < count; ++i)
      result[i] = static_cast<std::uint32_t>(i * 0x9e3779b97f4a7c15u >> 32);
    return result;
  }

  // Everything that the kernel writes, `at_once` images to a launch.
  std::vector<std::byte> run(const kernels::ConvolutionKernel<T>& kernel, int at_once) const {
    const bool forward = pool_ != kernels::FusedPool::input;
    const bool pools = pool_ == kernels::FusedPool::output;
    const auto output = test::poisoned<T>(elements(output_elements()));
    const auto mask_out = test::poisoned<std::uint32_t>(elements(map_elements()) / 32);
    const auto argmax = test::poisoned<std::uint32_t>(elements(output_elements()) / 16);
    const auto active = test::poisoned<std::uint32_t>(elements(output_elements()) / 32);
    for (int first = 0; first < shape_.images; first += at_once) {
      kernels::ConvolutionArguments<T> arguments{
          .input = input_.data() + first * input_elements(),
          .weights = weights_.data(),
          .bias = forward ? bias_.data() : nullptr,
          .output = output.data() + first * output_elements(),
          .mask_out = forward && !pools ? mask_out.data() + first * map_elements() / 32 : nullptr,
          .mask_in = forward ? nullptr : bits_.data() + first * map_elements() / 32,
          .images_count = std::min(at_once, shape_.images - first),
          .height = shape_.height,
          .width = shape_.width,
          .in_channels = shape_.in_channels,
          .out_channels = shape_.out_channels};
      if (pools)
        arguments.output_pool = {argmax.data() + first * output_elements() / 16,
                                 active.data() + first * output_elements() / 32};
      if (!forward)
        arguments.input_pool = {argmax_.data() + first * input_elements() / 16,
                                active_.data() + first * input_elements() / 32};
      kernel.launch(arguments, nullptr);
    }
    std::vector<std::byte> all;
    const auto append = [&](const auto& buffer) {
      const auto values = test::download(buffer);
      const auto bytes = std::as_bytes(std::span(values));
      all.insert(all.end(), bytes.begin(), bytes.end());
    };
    append(output);
    append(mask_out);
    append(argmax);
    append(active);
    return all;
  }

  ConvolutionShape shape_;
  kernels::FusedPool pool_;
  cuda::DeviceBuffer<T> input_;
  cuda::DeviceBuffer<T> weights_;
  cuda::DeviceBuffer<float> bias_;
  cuda::DeviceBuffer<std::uint32_t> bits_;
  cuda::DeviceBuffer<std::uint32_t> argmax_;
  cuda::DeviceBuffer<std::uint32_t> active_;
  std::vector<std::byte> expected_;
};

TEST_P(ConvolutionWgmmaTest, ManyTilesOfABlockGiveWhatOneGives) {
  struct Case {
    ConvolutionShape shape;
    int few;
  };
  const std::vector<Case> cases =
      // 15 windows to an image, so that no two tiles begin at the same place of theirs.
      test::kEmulated ? std::vector<Case>{{{13, 6, 10, 64, 64}, 8}}
                      : std::vector<Case>{{{32, 96, 96, 64, 64}, 3}, {{128, 24, 24, 256, 256}, 16}};
  for (const Case& one : cases) {
    for (const kernels::FusedPool pool :
         {kernels::FusedPool::none, kernels::FusedPool::output, kernels::FusedPool::input}) {
      ManyTiles many(one.shape, one.few, pool);
      for (const auto& kernel : {usual<kernels::Half>(), large<kernels::Half>()}) many.check(kernel);
    }
  }
}

TEST_P(ConvolutionWgmmaTest, PoolsMapsOfEvenSize) {
  for (const kernels::FusedPool pool : {kernels::FusedPool::output, kernels::FusedPool::input}) {
    EXPECT_TRUE(kernels::convolution_wgmma_takes({96, 96, 64, 64, pool}));
    EXPECT_FALSE(kernels::convolution_wgmma_takes({95, 96, 64, 64, pool}));
    EXPECT_FALSE(kernels::convolution_wgmma_takes({96, 95, 64, 64, pool}));
  }
}

}  // namespace
}  // namespace filterscope
