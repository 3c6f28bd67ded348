#include "kernels/head/filter_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../first_layer/first_layer.h"
#include "../tolerance.h"
#include "kernels/first_layer/dgrad.h"
#include "tests/support/device.h"
#include "tests/support/random_network.h"

namespace filterscope {
namespace {

using kernels::kFilterHeadParts;
using kernels::MaskFormat;

class FilterHeadTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(FilterHeadTest);

// The images' filters among those of the layer; neighbours differ, and one comes twice.
constexpr int kLayerFilters = 5;
const std::vector<int> kFilters{3, 0, 3};
const int kImages = static_cast<int>(kFilters.size());

struct Parameters {
  std::vector<float> weights;  // [kLayerFilters][3][3][channels]
  std::vector<float> bias;
  std::span<const float> filter(int number) const {
    const std::size_t size = weights.size() / kLayerFilters;
    return std::span(weights).subspan(static_cast<std::size_t>(number) * size, size);
  }
};

Parameters random_parameters(int channels, std::uint64_t seed) {
  return {test::random_values(static_cast<std::size_t>(kLayerFilters) * 9 * channels, seed, -1.f),
          test::random_values(kLayerFilters, seed + 1, -1.f)};
}

std::size_t words(Extent extent) {
  return static_cast<std::size_t>((extent.positions() + 31) / 32);
}

bool is_active(std::span<const std::uint32_t> active, std::size_t image, Extent extent,
               std::size_t position) {
  return (active[image * words(extent) + position / 32] >> position % 32 & 1u) != 0;
}

struct Head {
  std::vector<float> sums;
  std::vector<std::uint32_t> active;
};

// The input is that of the target layer, whatever made it.
void expect_head(const Head& actual, Extent extent, const std::vector<reference::Map>& inputs,
                 const std::vector<reference::Map>& input_magnitudes, const Parameters& parameters,
                 int terms) {
  const std::size_t positions = static_cast<std::size_t>(extent.positions());
  const std::size_t part_size = 32 * ((words(extent) + kFilterHeadParts - 1) / kFilterHeadParts);
  std::vector<double> sums(actual.sums.size(), 0.0);
  std::vector<double> magnitudes(actual.sums.size(), 0.0);
  std::size_t wrong = 0;
  for (std::size_t image = 0; image < inputs.size(); ++image) {
    const int filter = kFilters[image];
    const float bias[] = {parameters.bias[filter]};
    const reference::Map response = reference::convolve(inputs[image], parameters.filter(filter), bias);
    const reference::Map magnitude = reference::convolve(
        input_magnitudes[image], test::magnitudes(parameters.filter(filter)), test::magnitudes(bias));
    for (std::size_t position = 0; position < positions; ++position) {
      const std::size_t part = image * kFilterHeadParts + position / part_size;
      sums[part] += std::max(response.values[position], 0.0);
      magnitudes[part] += magnitude.values[position];
      const double tolerance = test::sum_tolerance<float>(0, magnitude.values[position], terms);
      const bool active = is_active(actual.active, image, extent, position);
      if (active ? response.values[position] < -tolerance : response.values[position] > tolerance) ++wrong;
    }
    for (std::size_t position = positions; position < words(extent) * 32; ++position) {
      if (is_active(actual.active, image, extent, position)) ++wrong;
    }
  }
  EXPECT_EQ(wrong, 0u) << "bits";
  // Then at most part_size responses are added.
  test::expect_sums<float>(actual.sums, sums, magnitudes, terms + static_cast<int>(part_size));
}

// ---- forward

template <class T>
Head run(const std::vector<T>& input, const Parameters& parameters, Extent extent, int channels,
         const std::vector<int>& filters = kFilters) {
  const auto device_input = test::upload(input);
  const auto weights = test::upload(parameters.weights);
  const auto bias = test::upload(parameters.bias);
  const auto device_filters = test::upload(filters);
  const auto sums = test::poisoned<float>(filters.size() * kFilterHeadParts);
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
                           .channels = channels},
                          nullptr);
  return {test::download(sums), test::download(active)};
}

// As after a ReLU, half of it zero.
template <class T>
std::vector<T> random_input(Extent extent, int channels, int images, std::uint64_t seed) {
  std::vector<float> values =
      test::random_values(static_cast<std::size_t>(images * extent.positions() * channels), seed, -1.f);
  for (float& value : values) value = std::max(value, 0.f);
  return test::round_to<T>(values);
}

template <class T>
void check(Extent extent, int channels) {
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
  expect_head(run<T>(input, parameters, extent, channels), extent, maps, maps, parameters, 9 * channels + 1);
}

template <class T>
void check_forward() {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{9, 1}, Extent{15, 17}}) check<T>(extent, 64);
  check<T>({33, 35}, 32);   // Parts of several words,
  check<T>({20, 33}, 256);  // also where warps share a word.
  for (const int channels : {96, 128, 256}) check<T>({6, 7}, channels);
  check<T>({5, 5}, 512);
}

TEST_P(FilterHeadTest, IsTheReferenceInFloat) {
  check_forward<float>();
}
TEST_P(FilterHeadTest, IsTheReferenceInHalf) {
  check_forward<kernels::Half>();
}
TEST_P(FilterHeadTest, IsTheReferenceInBfloat16) {
  check_forward<kernels::Bfloat16>();
}

TEST_P(FilterHeadTest, IsClosedAtExactlyZero) {
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

// A loss must not stay finite where a response is not.
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

// ---- backward

std::vector<std::uint32_t> random_active(Extent extent, std::uint64_t seed) {
  const auto values = test::random_values(static_cast<std::size_t>(kImages * extent.positions()), seed);
  std::vector<std::uint32_t> active(kImages * words(extent), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t image = i / extent.positions();
    const std::size_t position = i % extent.positions();
    if (values[i] < 0.6f) active[image * words(extent) + position / 32] |= 1u << position % 32;
  }
  return active;
}

// Which images have sums that are all zero; of the others one part alone is not, each time another. The
// middle image's neighbours must not change what becomes of it, nor it what becomes of them.
enum class Rescue { off, none, middle, others };
const std::vector<Rescue> kRescues{Rescue::off, Rescue::none, Rescue::middle, Rescue::others};

bool is_rescued(Rescue rescue, int image) {
  return rescue == Rescue::middle ? image == 1 : rescue == Rescue::others && image != 1;
}

// There is one image more on either side, which the kernel must not look at.
std::vector<float> sums_of(Rescue rescue, std::uint64_t seed) {
  std::vector<float> sums(static_cast<std::size_t>(kImages + 2) * kFilterHeadParts, 0.f);
  for (int image = 0; image < kImages; ++image) {
    if (is_rescued(rescue, image)) continue;
    const std::size_t part = (seed + 3 * static_cast<std::size_t>(image)) % kFilterHeadParts;
    // Not even one that is not a number is rescued.
    sums[static_cast<std::size_t>(image + 1) * kFilterHeadParts + part] =
        image == 2 ? std::numeric_limits<float>::quiet_NaN() : 0x1p-149f;
  }
  return sums;
}

// The gradient of the responses that the active positions have, or all of them.
reference::Map response_gradient(std::span<const std::uint32_t> active, bool rescued, std::size_t image,
                                 Extent extent, float scale) {
  reference::Map gradient(extent, 1);
  for (std::size_t position = 0; position < gradient.values.size(); ++position) {
    gradient.values[position] = rescued || is_active(active, image, extent, position) ? double{scale} : 0.0;
  }
  return gradient;
}

template <class T>
void check_gradient(Extent extent, int channels, MaskFormat format, Rescue rescue = Rescue::off) {
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
       .sums = rescue == Rescue::off ? nullptr : response_sums.data() + kFilterHeadParts,
       .weights = weights.data(),
       .filters = filters.data(),
       .mask = {format, data[static_cast<int>(format)]},
       .scale = kScale,
       .gradient = gradient.data(),
       .images_count = kImages,
       .height = extent.height,
       .width = extent.width,
       .channels = channels},
      nullptr);

  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int image = 0; image < kImages; ++image) {
    const reference::Map response =
        response_gradient(active, is_rescued(rescue, image), static_cast<std::size_t>(image), extent, kScale);
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
    check_gradient<T>({15, 17}, 64, MaskFormat::bits, rescue);
    check_gradient<T>({5, 5}, 96, MaskFormat::bytes, rescue);
    check_gradient<T>({1, 1}, 32, MaskFormat::activation, rescue);
    check_gradient<T>({2, 3}, 128, MaskFormat::none, rescue);
  }
}

TEST_P(FilterHeadTest, RescuedGradientIsTheReferenceInFloat) {
  check_rescue<float>();
}
TEST_P(FilterHeadTest, RescuedGradientIsTheReferenceInHalf) {
  check_rescue<kernels::Half>();
}
TEST_P(FilterHeadTest, RescuedGradientIsTheReferenceInBfloat16) {
  check_rescue<kernels::Bfloat16>();
}

TEST_P(FilterHeadTest, GradientIsTheReferenceInFloat) {
  check_backward<float>();
}
TEST_P(FilterHeadTest, GradientIsTheReferenceInHalf) {
  check_backward<kernels::Half>();
}
TEST_P(FilterHeadTest, GradientIsTheReferenceInBfloat16) {
  check_backward<kernels::Bfloat16>();
}

// ---- the first layer

void check_image_head(Extent extent, const InputMapping& mapping) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(extent) << ", " << mapping.name);
  const std::size_t image_size = static_cast<std::size_t>(extent.positions() * 3);
  const std::vector<float> images = test::random_values(kImages * image_size, 1);
  const Parameters parameters = random_parameters(3, 2);
  const auto device_images = test::upload(images);
  const auto weights = test::upload(parameters.weights);
  const auto bias = test::upload(parameters.bias);
  const auto filters = test::upload(kFilters);
  const auto sums = test::poisoned<float>(static_cast<std::size_t>(kImages * kFilterHeadParts));
  const auto active = test::poisoned<std::uint32_t>(kImages * words(extent));
  kernels::image_head({.images = device_images.data(),
                       .weights = weights.data(),
                       .bias = bias.data(),
                       .filters = filters.data(),
                       .map = test::to_input_map(mapping),
                       .sums = sums.data(),
                       .active = active.data(),
                       .images_count = kImages,
                       .height = extent.height,
                       .width = extent.width},
                      nullptr);
  std::vector<reference::Map> inputs;
  std::vector<reference::Map> magnitudes;
  for (int i = 0; i < kImages; ++i) {
    const reference::Map image(extent, 3, std::span(images).subspan(i * image_size, image_size));
    inputs.push_back(reference::apply_mapping(mapping, image));
    magnitudes.push_back(reference::apply_mapping(test::magnitudes(mapping), image));
  }
  expect_head({test::download(sums), test::download(active)}, extent, inputs, magnitudes, parameters, 30);
}

TEST_P(FilterHeadTest, OfImagesIsTheReference) {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{33, 35}}) {
    check_image_head(extent, identity_mapping());
  }
  for (const InputMapping& mapping : test::mappings()) check_image_head({15, 17}, mapping);
}

void check_image_gradient(Extent extent, const InputMapping& mapping, Rescue rescue = Rescue::off) {
  SCOPED_TRACE(testing::Message() << testing::PrintToString(extent) << ", " << mapping.name << ", rescue "
                                  << static_cast<int>(rescue));
  constexpr float kScale = 0.37f;
  const std::vector<std::uint32_t> active = random_active(extent, 1);
  const Parameters parameters = random_parameters(3, 2);
  const auto device_active = test::upload(active);
  const auto weights = test::upload(parameters.weights);
  const auto filters = test::upload(kFilters);
  const auto gradients = test::poisoned<float>(static_cast<std::size_t>(kImages * extent.positions() * 3));
  const auto squares = test::poisoned<float>(
      static_cast<std::size_t>(kImages * kernels::image_gradient_parts(extent.height, extent.width)));
  const auto sums = test::upload(sums_of(rescue, static_cast<std::uint64_t>(extent.width)));
  kernels::image_head_gradient({.active = device_active.data(),
                                .sums = rescue == Rescue::off ? nullptr : sums.data() + kFilterHeadParts,
                                .weights = weights.data(),
                                .filters = filters.data(),
                                .map = test::to_input_map(mapping),
                                .scale = kScale,
                                .image_gradients = gradients.data(),
                                .squares = squares.data(),
                                .images_count = kImages,
                                .height = extent.height,
                                .width = extent.width},
                               nullptr);
  std::vector<double> expected;
  std::vector<double> magnitudes;
  for (int image = 0; image < kImages; ++image) {
    const reference::Map response =
        response_gradient(active, is_rescued(rescue, image), static_cast<std::size_t>(image), extent, kScale);
    const std::span<const float> filter = parameters.filter(kFilters[image]);
    const reference::Map gradient =
        reference::mapping_gradient(mapping, reference::convolve_input_gradient(response, filter, 3));
    const reference::Map magnitude = reference::mapping_gradient(
        test::magnitudes(mapping), reference::convolve_input_gradient(response, test::magnitudes(filter), 3));
    expected.insert(expected.end(), gradient.values.begin(), gradient.values.end());
    magnitudes.insert(magnitudes.end(), magnitude.values.begin(), magnitude.values.end());
  }
  const std::vector<float> actual = test::download(gradients);
  test::expect_sums<float>(actual, expected, magnitudes, 14);
  test::expect_squares(test::download(squares), actual, kImages, extent);
}

TEST_P(FilterHeadTest, GradientOfImagesIsTheReference) {
  for (const Extent extent : {Extent{1, 1}, Extent{2, 3}, Extent{33, 35}}) {
    check_image_gradient(extent, identity_mapping());
  }
  for (const InputMapping& mapping : test::mappings()) check_image_gradient({15, 17}, mapping);
}

TEST_P(FilterHeadTest, RescuedGradientOfImagesIsTheReference) {
  for (const Rescue rescue : kRescues) {
    check_image_gradient({17, 19}, test::mappings().back(), rescue);
    check_image_gradient({1, 1}, identity_mapping(), rescue);
  }
}

}  // namespace
}  // namespace filterscope
