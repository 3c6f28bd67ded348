#include "kernels/image/colour.h"

#include "host/ascent/operations/colour.h"
#include "host/cuda/stage_arguments.h"
#include "images.h"

namespace filterscope {
namespace {

using kernels::ValueLayout;
using reference::Map;

class ColourTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(ColourTest);

constexpr int kImages = 3;
// Three products and sums, and an exponential.
constexpr double kTolerance = 1e-6;

std::vector<Parameterisation> pixel_parameterisations() {
  std::vector<Parameterisation> all = test::parameterisations();
  std::erase_if(all, [](const Parameterisation& p) { return p.kind != Parameterisation::Kind::pixels; });
  return all;
}

// Interleaved pixels as planes, or back.
std::vector<float> transposed(std::span<const float> values, std::size_t rows, std::size_t columns) {
  std::vector<float> result(values.size());
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t column = 0; column < columns; ++column)
      result[column * rows + row] = values[row * columns + column];
  return result;
}

// Runs `kernel` on random input in both layouts and, with interleaved values, in place; checks that the
// outputs agree, and returns them interleaved.
std::vector<float> run_kernel(void (*kernel)(const kernels::ColourArguments&, cudaStream_t),
                              const kernels::ColourMap& map, const std::vector<float>& input,
                              const std::vector<float>& images, Extent extent, bool from_values) {
  const std::size_t size = test::image_size(extent);
  const auto positions = static_cast<std::size_t>(extent.positions());
  const auto device_images = test::upload(images);
  const auto run = [&](const std::vector<float>& in, ValueLayout layout, bool in_place) {
    const auto device_in = test::upload(in);
    const auto out = test::poisoned<float>(in.size());
    kernel({.in = device_in.data(),
            .out = in_place ? device_in.data() : out.data(),
            .images = images.empty() ? nullptr : device_images.data(),
            .map = map,
            .layout = layout,
            .images_count = kImages,
            .positions = static_cast<int>(positions)},
           nullptr);
    return test::download(in_place ? device_in : out);
  };
  const auto each_transposed = [&](const std::vector<float>& batch, std::size_t rows, std::size_t columns) {
    std::vector<float> result;
    for (int i = 0; i < kImages; ++i) {
      const std::vector<float> one = transposed(test::image_of(batch, i, size), rows, columns);
      result.insert(result.end(), one.begin(), one.end());
    }
    return result;
  };
  const std::vector<float> found = run(input, ValueLayout::interleaved, false);
  EXPECT_EQ(found, run(input, ValueLayout::interleaved, true));
  if (from_values) {
    EXPECT_EQ(found, run(each_transposed(input, positions, 3), ValueLayout::planar, false));
  } else {
    EXPECT_EQ(found, each_transposed(run(input, ValueLayout::planar, false), 3, positions));
  }
  return found;
}

TEST_P(ColourTest, ImagesAndGradientsMatchTheReference) {
  for (const Extent extent : test::kExtents) {
    const std::size_t size = test::image_size(extent);
    for (const Parameterisation& parameterisation : pixel_parameterisations()) {
      const kernels::ColourMap map = cuda::colour_map(parameterisation);
      const std::vector<float> values = test::random_values(kImages * size, 1, -2.f, 2.f);
      const std::vector<float> images = run_kernel(kernels::colour_forward, map, values, {}, extent, true);
      const std::vector<float> upstream = test::random_values(kImages * size, 2, -1.f);
      const std::vector<float> gradients =
          run_kernel(kernels::colour_adjoint, map, upstream, images, extent, false);
      for (int i = 0; i < kImages; ++i) {
        const Map expected =
            reference::to_image(parameterisation, extent, test::widened(test::image_of(values, i, size)));
        test::expect_close(test::image_of(images, i, size), expected.values, kTolerance);
        test::expect_close(
            test::image_of(gradients, i, size),
            reference::parameters_gradient(parameterisation, expected, test::map_of(upstream, i, extent)),
            kTolerance);
      }
    }
  }
}

TEST_P(ColourTest, InversesAreTheHosts) {
  const Extent extent{5, 7};
  const std::size_t size = test::image_size(extent);
  for (const Parameterisation& parameterisation : pixel_parameterisations()) {
    std::vector<float> images = test::random_values(kImages * size, 3, -0.2f, 1.2f);
    const std::vector<float> found = run_kernel(
        kernels::colour_inverse, cuda::inverse_colour_map(parameterisation), images, {}, extent, false);
    from_image(parameterisation, images);
    // The inverse matrix has elements of up to 6, whose products cancel.
    test::expect_close(found, images, 5e-6);
  }
}

}  // namespace
}  // namespace filterscope
