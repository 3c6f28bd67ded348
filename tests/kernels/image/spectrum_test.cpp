#include "kernels/image/spectrum.h"

#include "host/ascent/operations/fourier.h"
#include "host/cuda/fourier.h"
#include "images.h"

namespace filterscope {
namespace {

using reference::Map;

class SpectrumTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(SpectrumTest);

constexpr int kImages = 35;  // More than a group.
constexpr float kDecay = 1.25f;
// Sums of up to 143 terms, whose errors add up like a random walk.
constexpr double kTolerance = 3e-6;
const Parameterisation kFourier{.kind = Parameterisation::Kind::fourier, .decay = kDecay};

// The transforms of a batch of images of one extent.
struct Spectra {
  explicit Spectra(Extent images)
      : extent(images),
        size(FourierImage(images, kDecay).size()),
        transforms(images, kImages),
        scale(test::upload(table(images))),
        spectra(test::poisoned<float>(size * FourierTransforms::padded(images, kImages))),
        planes(test::poisoned<float>(test::image_size(images) * FourierTransforms::padded(images, kImages))) {
  }
  static std::vector<float> table(Extent images) {
    std::vector<float> values = spectrum_scale(images, kDecay);
    for (float& value : values) value /= static_cast<float>(images.positions());
    return values;
  }

  kernels::SpectrumArguments arguments(const float* in, float* out) const {
    return {.in = in,
            .out = out,
            .scale = scale.data(),
            .images_count = kImages,
            .height = extent.height,
            .width = extent.width};
  }
  std::vector<float> to_planes(const std::vector<float>& coefficients) const {
    const auto device_coefficients = test::upload(coefficients);
    kernels::scale_spectrum(arguments(device_coefficients.data(), spectra.data()), nullptr);
    transforms.inverse(spectra.data(), planes.data(), nullptr);
    return first_images(planes, test::image_size(extent));
  }
  std::vector<float> from_planes(const std::vector<float>& values,
                                 void (*kernel)(const kernels::SpectrumArguments&, cudaStream_t)) const {
    cuda::check(
        cudaMemcpy(planes.data(), values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice),
        "copying");
    transforms.forward(planes.data(), spectra.data(), nullptr);
    kernel(arguments(spectra.data(), spectra.data()), nullptr);
    return first_images(spectra, size);
  }
  static std::vector<float> first_images(const cuda::DeviceBuffer<float>& buffer, std::size_t each) {
    std::vector<float> values = test::download(buffer);
    values.resize(each * kImages);
    return values;
  }

  using FourierTransforms = cuda::FourierTransforms;
  Extent extent;
  std::size_t size;
  FourierTransforms transforms;
  cuda::DeviceBuffer<float> scale;
  cuda::DeviceBuffer<float> spectra;
  cuda::DeviceBuffer<float> planes;
};

// [height][width][3] of [3][height][width].
std::vector<float> interleaved(std::span<const float> planes) {
  const std::size_t positions = planes.size() / 3;
  std::vector<float> image;
  for (std::size_t i = 0; i < positions; ++i)
    for (std::size_t c = 0; c < 3; ++c) image.push_back(planes[c * positions + i]);
  return image;
}

TEST_P(SpectrumTest, ImagesAndGradientsMatchTheReference) {
  for (const Extent extent : test::kExtents) {
    const Spectra spectra(extent);
    const std::vector<float> coefficients = test::random_values(spectra.size * kImages, 1, -1.f);
    const std::vector<float> planes = spectra.to_planes(coefficients);
    const std::size_t image = test::image_size(extent);
    const std::vector<float> upstream = test::random_values(image * kImages, 2, -1.f);
    const std::vector<float> gradients = spectra.from_planes(upstream, kernels::spectrum_adjoint);
    for (int i = 0; i < kImages; ++i) {
      const Map expected =
          reference::to_image(kFourier, extent, test::widened(test::image_of(coefficients, i, spectra.size)));
      test::expect_close(interleaved(test::image_of(planes, i, image)), expected.values, kTolerance);
      const Map image_gradient(extent, 3, interleaved(test::image_of(upstream, i, image)));
      test::expect_close(test::image_of(gradients, i, spectra.size),
                         reference::parameters_gradient(kFourier, expected, image_gradient), kTolerance);
    }
  }
}

TEST_P(SpectrumTest, AdjointIsTheAdjoint) {
  for (const Extent extent : test::kExtents) {
    const Spectra spectra(extent);
    const std::vector<float> u = test::random_values(spectra.size * kImages, 3, -1.f);
    const std::vector<float> v = test::random_values(test::image_size(extent) * kImages, 4, -1.f);
    const double forward = test::dot(test::widened(spectra.to_planes(u)), test::widened(v));
    const double backward =
        test::dot(test::widened(u), test::widened(spectra.from_planes(v, kernels::spectrum_adjoint)));
    EXPECT_NEAR(forward, backward,
                1e-5 * std::sqrt(static_cast<double>(u.size()) * static_cast<double>(v.size())));
  }
}

TEST_P(SpectrumTest, GivenImagesComeBack) {
  for (const Extent extent : test::kExtents) {
    const Spectra spectra(extent);
    const std::vector<float> planes = test::random_values(test::image_size(extent) * kImages, 5);
    const std::vector<float> back = spectra.to_planes(spectra.from_planes(planes, kernels::spectrum_inverse));
    test::expect_close(back, test::widened(planes), kTolerance);
  }
}

// The number of images does not change how each is transformed.
TEST_P(SpectrumTest, GroupsDependOnTheExtentAlone) {
  using cuda::FourierTransforms;
  EXPECT_EQ(FourierTransforms::padded({16, 16}, 1), 32);
  EXPECT_EQ(FourierTransforms::padded({16, 16}, 33), 64);
  EXPECT_EQ(FourierTransforms::padded({224, 224}, 1), 10);
  EXPECT_EQ(FourierTransforms::padded({2000, 2000}, 7), 8);
}

}  // namespace
}  // namespace filterscope
