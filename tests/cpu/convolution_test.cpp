// Every algorithm of host/cpu/convolution.h, both passes, against the double-precision reference.

#include "host/cpu/convolution.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "host/cpu/aligned.h"
#include "tests/support/random_network.h"
#include "tests/support/reference.h"

namespace filterscope::cpu {
namespace {

// fp32 sums of 9 * 64 products; Winograd's transforms add and subtract numbers up to 100 times the result.
constexpr double kDirectTolerance = 1e-5;
constexpr double kWinogradTolerance = 5e-4;

struct Case {
  int in_channels;
  int out_channels;
  Extent extent;
  int images;
  int in_block;
  int out_block;
};

class ConvolutionTest : public testing::TestWithParam<Case> {};

// Element (image, channel, y, x) of a map with this channel block (0: planar).
std::size_t offset(int channels, int block, Extent extent, int image, int channel, int y, int x) {
  const int lanes = block == 0 ? 1 : block;
  return (((static_cast<std::size_t>(image) * (channels / lanes) + channel / lanes) * extent.height + y) *
              extent.width +
          x) *
             lanes +
         channel % lanes;
}

TEST_P(ConvolutionTest, EveryAlgorithmAgreesWithTheReference) {
  const Case& given = GetParam();
  const Network network{.name = "one",
                        .convolutions = {{"layer", given.in_channels, given.out_channels, false}}};
  const Weights weights = test::random_weights(network, 11);
  const LayerWeights& layer = *weights.layers[0];
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::stream stream(engine);
  WeightStore store;
  int checked = 0;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    const bool forward = pass == Pass::forward;
    const int from_channels = forward ? given.in_channels : given.out_channels;
    const int to_channels = forward ? given.out_channels : given.in_channels;
    const int from_block = forward ? given.in_block : given.out_block;
    const int to_block = forward ? given.out_block : given.in_block;
    const std::size_t positions = static_cast<std::size_t>(given.extent.positions());
    for (const bool winograd : {false, true}) {
      for (const bool as_forward : {true, false}) {
        if (forward && !as_forward) continue;
        const Algorithm algorithm{winograd, as_forward};
        const auto kernel = ConvolutionKernel::make(engine,
                                                    {given.in_channels, given.out_channels, given.extent,
                                                     given.images, given.in_block, given.out_block},
                                                    pass, algorithm, layer, store);
        if (!kernel) continue;  // not every shape has every algorithm
        ++checked;
        AlignedBuffer<float> source(positions * from_channels * given.images);
        AlignedBuffer<float> destination(positions * to_channels * given.images);
        AlignedBuffer<std::byte> scratch(kernel->scratch_bytes());
        std::ranges::fill(destination.span(), std::numeric_limits<float>::quiet_NaN());
        std::vector<reference::Map> inputs;
        for (int image = 0; image < given.images; ++image) {
          inputs.emplace_back(given.extent, from_channels,
                              test::random_values(positions * from_channels, 20 + image, -1.f, 1.f));
          for (int y = 0; y < given.extent.height; ++y) {
            for (int x = 0; x < given.extent.width; ++x) {
              for (int channel = 0; channel < from_channels; ++channel) {
                source.data()[offset(from_channels, from_block, given.extent, image, channel, y, x)] =
                    static_cast<float>(inputs.back().at(y, x, channel));
              }
            }
          }
        }
        kernel->execute(stream, source.data(), destination.data(), scratch.data());
        for (int image = 0; image < given.images; ++image) {
          const reference::Map expected =
              forward ? reference::relu(reference::convolve(inputs[image], layer.kernel, layer.bias))
                      : reference::convolve_input_gradient(inputs[image], layer.kernel, given.in_channels);
          reference::Map actual(given.extent, to_channels);
          for (int y = 0; y < given.extent.height; ++y) {
            for (int x = 0; x < given.extent.width; ++x) {
              for (int channel = 0; channel < to_channels; ++channel) {
                actual.at(y, x, channel) =
                    destination.data()[offset(to_channels, to_block, given.extent, image, channel, y, x)];
              }
            }
          }
          EXPECT_LT(test::max_relative_error(actual.values, expected.values),
                    winograd ? kWinogradTolerance : kDirectTolerance)
              << to_string(pass) << " " << kernel->name() << ", image " << image;
        }
      }
    }
  }
  EXPECT_GE(checked, 3);  // direct: forward, and backward both ways
}

INSTANTIATE_TEST_SUITE_P(Shapes, ConvolutionTest,
                         testing::Values(Case{3, 16, {7, 9}, 2, 0, 16}, Case{3, 5, {4, 3}, 1, 3, 5},
                                         Case{5, 7, {9, 5}, 3, 5, 7}, Case{16, 32, {1, 1}, 2, 16, 16},
                                         Case{32, 64, {13, 11}, 1, 16, 16}, Case{64, 64, {12, 12}, 3, 16, 16},
                                         Case{64, 48, {6, 6}, 5, 16, 16}, Case{64, 64, {24, 17}, 1, 64, 64},
                                         Case{24, 40, {5, 6}, 2, 8, 8}, Case{64, 128, {3, 2}, 4, 16, 16}));

TEST(WeightStoreTest, SharesTransformedWeightsWhileTheyAreUsed) {
  const Network network{.name = "one", .convolutions = {{"layer", 16, 32, false}}};
  const Weights weights = test::random_weights(network, 11);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl::memory::desc form({32, 16, 3, 3}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::oihw);
  WeightStore store;
  auto first = store.get(engine, *weights.layers[0], 16, 32, false, form);
  EXPECT_EQ(first, store.get(engine, *weights.layers[0], 16, 32, false, form));
  const std::weak_ptr<dnnl::memory> watch = first;
  first.reset();
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace filterscope::cpu
