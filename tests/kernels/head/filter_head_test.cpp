#include "kernels/head/filter_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "filter_head_check.h"

namespace filterscope {
namespace {

using namespace test::filter_head;
using kernels::MaskFormat;

class FilterHeadTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(FilterHeadTest);

// ---- forward

template <class T>
Head run(const std::vector<T>& input, const Parameters& parameters, Extent extent, int channels,
         const std::vector<int>& filters = kFilters, const kernels::HeadWindow& window = {}) {
  const auto device_input = test::upload(input);
  const auto weights = test::upload(parameters.weights);
  const auto bias = test::upload(parameters.bias);
  const auto device_filters = test::upload(filters);
  const auto sums = test::poisoned<float>(filters.size() * kernels::kFilterHeadParts);
  const auto active = test::poisoned<std::uint32_t>(filters.size() * words(extent));
  kernels::filter_head<T>({.input = device_input.data(),
                           .weights = weights.data(),
                           .bias = bias.data(),
                           .filters = device_filters.data(),
                           .sums = sums.data(),
                           .active = active.data(),
                           .images_count = static_cast<int>(filters.size()),
                           .height = extent.height,
                           .width = extent.width,
                           .channels = channels,
                           .window = window},
                          nullptr);
  return {test::download(sums), test::download(active)};
}

// As after a ReLU: half of it is zero.
template <class T>
std::vector<T> random_input(Extent extent, int channels, int images, std::uint64_t seed) {
  std::vector<float> values =
      test::random_values(static_cast<std::size_t>(images * extent.positions() * channels), seed, -1.f);
  for (float& value : values) value = std::max(value, 0.f);
  return test::round_to<T>(values);
}

template <class T>
void check(Extent extent, int channels, const kernels::HeadWindow& window = {}) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(extent) << ", " << channels << " channels, "
                                  << sizeof(T) << " bytes");
  const std::vector<T> input = random_input<T>(extent, channels, kImages, 1);
  const Parameters parameters = random_parameters(channels, 2);
  const std::vector<float> wide = test::widen(input);
  const std::size_t image_size = wide.size() / kImages;
  std::vector<reference::Map> maps;
  for (int image = 0; image < kImages; ++image) {
    maps.emplace_back(extent, channels, std::span(wide).subspan(image * image_size, image_size));
  }
  expect_head(run<T>(input, parameters, extent, channels, kFilters, window), extent, maps, maps, parameters,
              9 * channels + 1, window);
}

template <class T>
void check_forward() {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{9, 1}, Extent{15, 17}}) check<T>(extent, 64);
  check<T>({33, 35}, 32);   // Parts of several words,
  check<T>({20, 33}, 256);  // also where several warps share a word.
  for (const int channels : {96, 128, 256}) check<T>({6, 7}, channels);
  check<T>({5, 5}, 512);
  for (const kernels::HeadWindow& window : windows_of({15, 17})) check<T>({15, 17}, 64, window);
  for (const kernels::HeadWindow& window : windows_of({6, 7})) check<T>({6, 7}, 256, window);
}

TEST_P(FilterHeadTest, MatchesReferenceInFloat) {
  check_forward<float>();
}
TEST_P(FilterHeadTest, MatchesReferenceInHalf) {
  check_forward<kernels::Half>();
}
TEST_P(FilterHeadTest, MatchesReferenceInBfloat16) {
  check_forward<kernels::Bfloat16>();
}

TEST_P(FilterHeadTest, ExactlyZeroIsInactive) {
  const Extent extent{5, 7};
  const std::vector<float> input(35 * 64, 0.f);
  Parameters parameters = random_parameters(64, 3);
  parameters.bias = {0.f, -0.f, -1.f, 0x1p-149f, 1.f};
  for (const int filter : {0, 1, 2}) {
    const Head actual = run<float>(input, parameters, extent, 64, {filter});
    EXPECT_THAT(actual.sums, testing::Each(0.f));
    EXPECT_THAT(actual.active, testing::Each(0u));
  }
  EXPECT_THAT(run<float>(input, parameters, extent, 64, {3}).active, testing::ElementsAre(0xffffffffu, 7u));
  const Head active = run<float>(input, parameters, extent, 64, {4});
  EXPECT_THAT(active.active, testing::ElementsAre(0xffffffffu, 7u));
  EXPECT_THAT(active.sums, testing::ElementsAre(32.f, 3.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f));
}

// The loss must not stay finite where a response is not.
TEST_P(FilterHeadTest, KeepsNaN) {
  std::vector<float> input(35 * 64, 0.f);
  input[9 * 64 + 5] = std::numeric_limits<float>::quiet_NaN();
  const Head actual = run<float>(input, random_parameters(64, 3), {5, 7}, 64, {0});
  EXPECT_THAT(actual.sums[0], testing::IsNan());
}

TEST_P(FilterHeadTest, DoesNotDependOnTheBatch) {
  const Extent extent{9, 11};
  const Parameters parameters = random_parameters(64, 4);
  const auto input = random_input<kernels::Half>(extent, 64, 1, 5);
  auto inputs = random_input<kernels::Half>(extent, 64, kImages, 6);
  std::ranges::copy(input, inputs.end() - static_cast<std::ptrdiff_t>(input.size()));
  const Head alone = run<kernels::Half>(input, parameters, extent, 64, {kFilters.back()});
  const Head last = run<kernels::Half>(inputs, parameters, extent, 64);
  EXPECT_TRUE(std::ranges::equal(alone.sums, std::span(last.sums).last(alone.sums.size())));
  EXPECT_TRUE(std::ranges::equal(alone.active, std::span(last.active).last(alone.active.size())));
}

// ---- gradient

template <class T>
void check_gradient(Extent extent, int channels, MaskFormat format, Rescue rescue = Rescue::off,
                    const kernels::HeadWindow& window = {}) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(extent) << ", " << channels << " channels, mask "
                                  << static_cast<int>(format) << ", " << sizeof(T) << " bytes, rescue "
                                  << static_cast<int>(rescue));
  constexpr float kScale = 0.37f;
  const std::vector<std::uint32_t> active = random_active(extent, 1);
  const Parameters parameters = random_parameters(channels, 2);
  const std::vector<T> activation = random_input<T>(extent, channels, kImages, 3);
  std::vector<std::uint8_t> bytes(activation.size());
  std::vector<std::uint32_t> bits(activation.size() / 32, 0);
  for (std::size_t i = 0; i < activation.size(); ++i) {
    bytes[i] = kernels::to_float(activation[i]) > 0 ? 1 : 0;
    bits[i / 32] |= std::uint32_t{bytes[i]} << i % 32;
  }
  const auto device_activation = test::upload(activation);
  const auto device_bytes = test::upload(bytes);
  const auto device_bits = test::upload(bits);
  const void* const data[] = {nullptr, device_bits.data(), device_bytes.data(), device_activation.data()};

  const auto device_active = test::upload(active);
  const auto weights = test::upload(parameters.weights);
  const auto filters = test::upload(kFilters);
  const auto response_sums =
      test::upload(sums_of(rescue, static_cast<std::uint64_t>(channels + extent.width)));
  const auto gradient = test::poisoned<T>(activation.size());
  kernels::filter_head_gradient<T>(
      {.active = device_active.data(),
       .sums = rescue == Rescue::off ? nullptr : response_sums.data() + kernels::kFilterHeadParts,
       .weights = weights.data(),
       .filters = filters.data(),
       .mask = {format, data[static_cast<int>(format)]},
       .scale = kScale,
       .gradient = gradient.data(),
       .images_count = kImages,
       .height = extent.height,
       .width = extent.width,
       .channels = channels,
       .window = window},
      nullptr);

  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int image = 0; image < kImages; ++image) {
    const reference::Map response = response_gradient(
        active, is_rescued(rescue, image), static_cast<std::size_t>(image), extent, kScale, window);
    const std::span<const float> filter = parameters.filter(kFilters[image]);
    const reference::Map sums = reference::convolve_input_gradient(response, filter, channels);
    const reference::Map magnitude =
        reference::convolve_input_gradient(response, test::magnitudes(filter), channels);
    for (std::size_t i = 0; i < sums.values.size(); ++i) {
      const bool passes = format == MaskFormat::none || bytes[image * sums.values.size() + i] != 0;
      expected.push_back(passes ? sums.values[i] : 0);
      magnitudes.push_back(passes ? magnitude.values[i] : 0);
    }
  }
  test::expect_sums<T>(test::widen(test::download(gradient)), expected, magnitudes, 10);
}

template <class T>
void check_backward() {
  for (const MaskFormat format :
       {MaskFormat::none, MaskFormat::bits, MaskFormat::bytes, MaskFormat::activation}) {
    check_gradient<T>({15, 17}, 64, format);
    check_gradient<T>({5, 5}, 96, format);
  }
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{9, 1}}) {
    check_gradient<T>(extent, 128, MaskFormat::bits);
  }
  check_gradient<T>({33, 35}, 32, MaskFormat::bits);
}

template <class T>
void check_rescue() {
  for (const Rescue rescue : kRescues) {
    for (const kernels::HeadWindow& window : windows_of({15, 17}))
      check_gradient<T>({15, 17}, 64, MaskFormat::bits, rescue, window);
    check_gradient<T>({5, 5}, 96, MaskFormat::bytes, rescue);
    check_gradient<T>({1, 1}, 32, MaskFormat::activation, rescue);
    check_gradient<T>({2, 3}, 128, MaskFormat::none, rescue);
  }
}

TEST_P(FilterHeadTest, RescuedGradientMatchesReferenceInFloat) {
  check_rescue<float>();
}
TEST_P(FilterHeadTest, RescuedGradientMatchesReferenceInHalf) {
  check_rescue<kernels::Half>();
}
TEST_P(FilterHeadTest, RescuedGradientMatchesReferenceInBfloat16) {
  check_rescue<kernels::Bfloat16>();
}

TEST_P(FilterHeadTest, GradientMatchesReferenceInFloat) {
  check_backward<float>();
}
TEST_P(FilterHeadTest, GradientMatchesReferenceInHalf) {
  check_backward<kernels::Half>();
}
TEST_P(FilterHeadTest, GradientMatchesReferenceInBfloat16) {
  check_backward<kernels::Bfloat16>();
}

}  // namespace
}  // namespace filterscope
