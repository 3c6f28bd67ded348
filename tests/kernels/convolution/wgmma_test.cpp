#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "wgmma_fixture.h"

namespace filterscope {
namespace {

using test::check_convolution;
using test::check_dgrad;
using test::ConvolutionCase;
using test::ConvolutionOptions;
using test::ConvolutionWgmmaTest;
FILTERSCOPE_DEVICE_TEST_SUITE(ConvolutionWgmmaTest);

constexpr ConvolutionOptions kFprop{.bias = true, .mask_out = true};
constexpr ConvolutionOptions kDgrad{.mask_in = true};

template <class T>
void check_cases() {
  const test::ConvolutionLaunch<T> launch = kernels::convolution_wgmma<T>;
  // Part of a tile, down to a single position without neighbours.
  check_convolution<T>(launch, {1, 1, 1, 64, 64}, kFprop);
  check_convolution<T>(launch, {2, 2, 3, 64, 128}, kFprop);
  // Several tiles per block, with the end of one image and the start of the next, and a partial last tile:
  // with resident weights, and with weights that are loaded again for each tile.
  check_convolution<T>(launch, {19, 7, 9, 64, 64}, kFprop);
  check_convolution<T>(launch, {11, 7, 9, 192, 64}, kFprop);
  check_convolution<T>(launch, {17, 6, 6, 64, 256}, kFprop);
  check_convolution<T>(launch, {3, 13, 5, 128, 192}, {.bias = true});
  // Options.
  check_convolution<T>(launch, {2, 5, 13, 64, 128}, {});
  check_convolution<T>(launch, {1, 5, 13, 64, 192}, {.mask_out = true, .mask_in = true});
  check_convolution<T>(launch, {1, 5, 13, 64, 64}, {.bias = true, .mask_out = true, .mask_in = true});
  check_dgrad<T>(launch, {9, 7, 9, 128, 64}, kDgrad);
  check_dgrad<T>(launch, {5, 13, 5, 64, 128}, kDgrad);
}

TEST_P(ConvolutionWgmmaTest, HalfMatchesReference) {
  check_cases<kernels::Half>();
}

TEST_P(ConvolutionWgmmaTest, Bfloat16MatchesReference) {
  check_cases<kernels::Bfloat16>();
}

template <class T>
void check_large_tiles() {
  const test::ConvolutionLaunch<T> launch = kernels::convolution_wgmma_large<T>;
  check_convolution<T>(launch, {1, 1, 1, 64, 64}, kFprop);
  check_convolution<T>(launch, {2, 2, 3, 64, 64}, {});
  // As above: resident weights, reloaded weights, and several tiles of output channels.
  check_convolution<T>(launch, {29, 7, 9, 64, 64}, kFprop);
  check_convolution<T>(launch, {13, 7, 9, 192, 64}, {.bias = true});
  check_convolution<T>(launch, {9, 13, 5, 64, 192}, {.bias = true, .mask_out = true, .mask_in = true});
  check_dgrad<T>(launch, {17, 7, 9, 128, 64}, kDgrad);
}

TEST_P(ConvolutionWgmmaTest, LargeTilesMatchReference) {
  check_large_tiles<kernels::Half>();
  check_large_tiles<kernels::Bfloat16>();
}

// The wider the map, the fewer weight tiles fit beside the halo tiles.
TEST_P(ConvolutionWgmmaTest, WideMaps) {
  using kernels::Half;
  const test::ConvolutionLaunch<Half> launch = kernels::convolution_wgmma<Half>;
  check_convolution<Half>(launch, {1, 3, 101, 64, 64}, kFprop);
  check_convolution<Half>(launch, {2, 2, 112, 64, 128}, kFprop);
  int widest = 112;
  while (test::wgmma_takes(widest + 1, 64, 128)) ++widest;
  check_convolution<Half>(launch, {1, 2, widest, 64, 128}, kFprop);
  while (test::wgmma_takes(widest + 1, 64, 64)) ++widest;
  check_convolution<Half>(launch, {1, 2, widest, 64, 64}, kFprop);
  EXPECT_LT(widest, 1000);
  EXPECT_FALSE(test::wgmma_takes(16384, 64, 64));
  widest = 96;
  while (kernels::convolution_wgmma_large_takes({2, widest + 1, 64, 64})) ++widest;
  check_convolution<Half>(kernels::convolution_wgmma_large<Half>, {1, 2, widest, 64, 64}, kFprop);
  EXPECT_LT(widest, 1000);
  EXPECT_FALSE(kernels::convolution_wgmma_large_takes({16384, 16384, 64, 64}));
}

#if defined(FILTERSCOPE_EMULATED)
// Holds for widths that are multiples of eight. With others a warp's windows can span two rows, and some rows
// of a matrix share banks.
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
  EXPECT_TRUE(test::wgmma_takes(96, 64, 128));
  EXPECT_FALSE(test::wgmma_takes(96, 32, 128));
  EXPECT_FALSE(test::wgmma_takes(96, 64, 96));
  EXPECT_TRUE(kernels::convolution_wgmma_large_takes({96, 96, 64, 64}));
  EXPECT_TRUE(kernels::convolution_wgmma_large_takes({48, 48, 128, 64}));
  EXPECT_FALSE(kernels::convolution_wgmma_large_takes({48, 48, 64, 128}));
}

// A block with several tiles continues with the rings, halo tiles and weights of the previous tile; with so
// few images that each block has one tile, it does not. On a device this runs for some tens of milliseconds,
// repeatedly, to catch rare races.
class ManyTiles {
 public:
  using T = kernels::Half;

  // `few` images must have no more tiles than the device has multiprocessors.
  ManyTiles(const ConvolutionCase& shape, int few, kernels::FusedPool pool)
      : shape_(shape),
        pool_(pool),
        input_(test::upload(test::round_to<T>(test::random_values(elements(input_elements()), 1, -1.f)))),
        weights_(test::upload(test::round_to<T>(
            test::random_values(std::size_t{9} * shape.in_channels * shape.out_channels, 2, -0.1f, 0.1f)))),
        bias_(test::upload(test::random_values(shape.out_channels, 3, -1.f))),
        bits_(test::upload(words(elements(map_elements()) / 32))),
        argmax_(test::upload(words(elements(input_elements()) / 16))),
        active_(test::upload(words(elements(input_elements()) / 32))),
        expected_(run(test::wgmma<T>(), few)) {}

  void check(const kernels::ConvolutionKernel<T>& kernel) {
    SCOPED_TRACE(testing::Message() << kernel.name << ", pool " << static_cast<int>(pool_));
    if (!kernel.supports({shape_.height, shape_.width, shape_.in_channels, shape_.out_channels, pool_}))
      return;
    for (int time = 0; time < (test::kEmulated ? 1 : 6); ++time)
      ASSERT_TRUE(run(kernel, shape_.images) == expected_) << "differs in run " << time + 1;
  }

 private:
  std::size_t elements(std::size_t per_image) const { return per_image * shape_.images; }
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

  // Everything that the kernel writes, with `at_once` images per launch.
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

  ConvolutionCase shape_;
  kernels::FusedPool pool_;
  cuda::DeviceBuffer<T> input_;
  cuda::DeviceBuffer<T> weights_;
  cuda::DeviceBuffer<float> bias_;
  cuda::DeviceBuffer<std::uint32_t> bits_;
  cuda::DeviceBuffer<std::uint32_t> argmax_;
  cuda::DeviceBuffer<std::uint32_t> active_;
  std::vector<std::byte> expected_;
};

TEST_P(ConvolutionWgmmaTest, ManyTilesPerBlockMatchOne) {
  struct Case {
    ConvolutionCase shape;
    int few;
  };
  const std::vector<Case> cases =
      // 15 windows per image, so that no two tiles begin at the same place in an image.
      test::kEmulated ? std::vector<Case>{{{13, 6, 10, 64, 64}, 8}}
                      : std::vector<Case>{{{32, 96, 96, 64, 64}, 3}, {{128, 24, 24, 256, 256}, 16}};
  for (const Case& one : cases) {
    for (const kernels::FusedPool pool :
         {kernels::FusedPool::none, kernels::FusedPool::output, kernels::FusedPool::input}) {
      ManyTiles many(one.shape, one.few, pool);
      for (const auto& kernel : {test::wgmma<kernels::Half>(), test::wgmma_large<kernels::Half>()})
        many.check(kernel);
    }
  }
}

}  // namespace
}  // namespace filterscope
