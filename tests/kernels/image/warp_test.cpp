#include "kernels/image/warp.h"

#include "host/ascent/operations/transforms.h"
#include "host/cuda/stage_arguments.h"
#include "images.h"
#include "kernels/common/philox.h"

namespace filterscope {
namespace {

using kernels::AscentStatus;
using reference::Map;
using Kind = Transform::Kind;

class WarpTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(WarpTest);

constexpr int kImages = 3;
constexpr std::uint64_t kSeed = 0xfedcba9876543210;
const std::vector<int> kLayers{0, 3, 12};
const std::vector<int> kFilters{5, 57, 511};
// Positions are rounded to about 1e-6 pixels, and samples change by at most their difference per pixel.
constexpr double kTolerance = 5e-6;

Transforms all_kinds() {
  return {.list = {{.kind = Kind::pad, .pixels = 2},
                   {.kind = Kind::jitter, .pixels = 4},
                   {.kind = Kind::scale, .draw = {.choices = {0.8f, 1.f, 1.25f}}},
                   {.kind = Kind::rotate, .draw = {.low = -20.f, .high = 20.f}},
                   {.kind = Kind::rotate, .draw = {.choices = {-3.f, 4.f}}},
                   {.kind = Kind::jitter, .pixels = 3}},
          .border = Border::constant,
          .value = 0.5f};
}

std::vector<kernels::AffineMap> drawn_maps(const Transforms& transforms, RandomStream stream, int iteration,
                                           bool separate) {
  const auto layers = test::upload(kLayers);
  const auto filters = test::upload(kFilters);
  const auto counter = test::upload(std::vector<int>{iteration - 1});
  std::vector<float> choices;
  kernels::DrawMapsArguments arguments = cuda::draw_arguments(transforms, choices);
  const auto device_choices = test::upload(choices);
  const std::size_t count = separate ? kImages * transforms.list.size() : kImages;
  const auto maps = test::poisoned<kernels::AffineMap>(count);
  arguments.choices = device_choices.data();
  arguments.stream = stream;
  arguments.seed = kSeed;
  arguments.layers = layers.data();
  arguments.filters = filters.data();
  arguments.iteration = counter.data();
  arguments.maps = maps.data();
  arguments.separate = separate;
  arguments.images_count = kImages;
  kernels::draw_maps(arguments, nullptr);
  return test::download(maps);
}

AffineMap host_map(const kernels::AffineMap& map) {
  AffineMap result;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) result.matrix[i][j] = map.matrix[i][j];
    result.shift[i] = map.shift[i];
  }
  return result;
}

void expect_same(const AffineMap& found, const AffineMap& expected) {
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) EXPECT_NEAR(found.matrix[i][j], expected.matrix[i][j], 1e-6f);
    EXPECT_NEAR(found.shift[i], expected.shift[i], 1e-5f);
  }
}

TEST_P(WarpTest, MapsAreTheHosts) {
  for (int iteration = 1; iteration <= 12; ++iteration) {
    const auto maps = drawn_maps(all_kinds(), RandomStream::transforms, iteration, false);
    for (int i = 0; i < kImages; ++i) {
      expect_same(host_map(maps[i]), draw_map(all_kinds(), kSeed, {kLayers[i], kFilters[i]}, iteration));
    }
  }
}

// A list with draws from the stream of the host's draw_map(), in which all transforms but one do nothing.
TEST_P(WarpTest, SeparateMapsAreTheTransforms) {
  const Transforms transforms = all_kinds();
  const auto maps = drawn_maps(transforms, RandomStream::transforms, 7, true);
  for (std::size_t number = 0; number < transforms.list.size(); ++number) {
    Transforms one = transforms;
    for (std::size_t other = 0; other < one.list.size(); ++other)
      if (other != number) one.list[other] = {.kind = Kind::pad};
    for (int i = 0; i < kImages; ++i) {
      expect_same(host_map(maps[number * kImages + i]), draw_map(one, kSeed, {kLayers[i], kFilters[i]}, 7));
    }
  }
  const auto kept = drawn_maps(transforms, RandomStream::kept_transforms, 7, true);
  EXPECT_NE(host_map(kept[kImages]), host_map(maps[kImages]));
}

std::vector<float> warped(const std::vector<float>& images, Extent extent, Extent canvas,
                          const std::vector<kernels::AffineMap>* maps, Border border,
                          const std::vector<AscentStatus>& status = {}) {
  const auto device_images = test::upload(images);
  const auto device_status = test::upload(status);
  const auto device_maps = maps == nullptr ? cuda::DeviceBuffer<kernels::AffineMap>() : test::upload(*maps);
  const auto canvases = test::poisoned<float>(kImages * test::image_size(canvas));
  kernels::warp({.images = device_images.data(),
                 .canvases = canvases.data(),
                 .maps = device_maps.data(),
                 .status = status.empty() ? nullptr : device_status.data(),
                 .border = cuda::warp_border(border),
                 .value = 0.5f,
                 .images_count = kImages,
                 .image_height = extent.height,
                 .image_width = extent.width,
                 .canvas_height = canvas.height,
                 .canvas_width = canvas.width},
                nullptr);
  return test::download(canvases);
}

std::vector<float> gathered(const std::vector<float>& gradients, Extent extent, Extent canvas,
                            const std::vector<kernels::AffineMap>& maps) {
  const auto device_gradients = test::upload(gradients);
  const auto device_maps = test::upload(maps);
  const auto result = test::poisoned<float>(kImages * test::image_size(extent));
  kernels::warp_adjoint({.canvas_gradients = device_gradients.data(),
                         .image_gradients = result.data(),
                         .maps = device_maps.data(),
                         .images_count = kImages,
                         .image_height = extent.height,
                         .image_width = extent.width,
                         .canvas_height = canvas.height,
                         .canvas_width = canvas.width},
                        nullptr);
  return test::download(result);
}

std::vector<std::pair<Extent, Extent>> sizes() {
  std::vector<std::pair<Extent, Extent>> all{{{11, 8}, {9, 10}}, {{23, 19}, {21, 17}}};
  for (const Extent extent : test::kExtents) {
    all.emplace_back(extent, extent);
    all.emplace_back(extent, Extent{extent.height + 4, extent.width + 2});
  }
  return all;
}

TEST_P(WarpTest, MatchesTheReferenceWithEveryBorder) {
  for (const auto& [extent, canvas] : sizes()) {
    const std::vector<float> images = test::random_values(kImages * test::image_size(extent), 10);
    for (const Border border : {Border::constant, Border::edge, Border::reflect, Border::wrap}) {
      for (int iteration = 1; iteration < 4; ++iteration) {
        const auto maps = drawn_maps(all_kinds(), RandomStream::transforms, iteration, false);
        const std::vector<float> found = warped(images, extent, canvas, &maps, border);
        for (int i = 0; i < kImages; ++i) {
          test::expect_close(
              test::image_of(found, i, test::image_size(canvas)),
              reference::warp(host_map(maps[i]), border, 0.5, test::map_of(images, i, extent), canvas).values,
              kTolerance);
        }
      }
    }
  }
}

TEST_P(WarpTest, CopiesAtRestAndOnlyWhatClimbs) {
  const Extent extent{6, 7};
  const std::size_t size = test::image_size(extent);
  const std::vector<float> images = test::random_values(kImages * size, 11);
  EXPECT_EQ(warped(images, extent, extent, nullptr, Border::constant), images);
  const std::vector<float> found =
      warped(images, extent, extent, nullptr, Border::constant,
             {AscentStatus::climbing, AscentStatus::nonfinite, AscentStatus::climbing});
  EXPECT_TRUE(std::ranges::equal(test::image_of(found, 0, size), test::image_of(images, 0, size)));
  for (const float value : test::image_of(found, 1, size)) EXPECT_TRUE(std::isnan(value));
  EXPECT_TRUE(std::ranges::equal(test::image_of(found, 2, size), test::image_of(images, 2, size)));
}

TEST_P(WarpTest, AdjointMatchesTheReference) {
  for (const auto& [extent, canvas] : sizes()) {
    const std::vector<float> gradients = test::random_values(kImages * test::image_size(canvas), 12, -1.f);
    for (int iteration = 1; iteration < 8; ++iteration) {
      const auto maps = drawn_maps(all_kinds(), RandomStream::transforms, iteration, false);
      const std::vector<float> found = gathered(gradients, extent, canvas, maps);
      for (int i = 0; i < kImages; ++i) {
        test::expect_close(
            test::image_of(found, i, test::image_size(extent)),
            reference::warp_adjoint(host_map(maps[i]), test::map_of(gradients, i, canvas), extent).values,
            2 * kTolerance);
      }
    }
  }
}

// <A u, v> = <u, A^T v>: weights of both kernels are the same to the last bit, so that only the sums round.
TEST_P(WarpTest, AdjointIsTheAdjoint) {
  const Extent extent{23, 18};
  const Extent canvas{21, 20};
  const std::size_t size = test::image_size(extent);
  const std::size_t canvas_size = test::image_size(canvas);
  const std::vector<float> u = test::random_values(kImages * size, 13, -1.f);
  const std::vector<float> v = test::random_values(kImages * canvas_size, 14, -1.f);
  for (int iteration = 1; iteration < 20; ++iteration) {
    Transforms transforms = all_kinds();
    transforms.list.push_back({.kind = Kind::scale, .draw = {.low = 0.5f, .high = 2.f}});
    const auto maps = drawn_maps(transforms, RandomStream::transforms, iteration, false);
    // Without what comes from outside of the image, the warp is linear.
    std::vector<float> all = warped(u, extent, canvas, &maps, Border::constant);
    const std::vector<float> outside =
        warped(std::vector<float>(u.size(), 0.f), extent, canvas, &maps, Border::constant);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] -= outside[i];
    const std::vector<float> back = gathered(v, extent, canvas, maps);
    for (int i = 0; i < kImages; ++i) {
      const auto wide = [i](const std::vector<float>& batch, std::size_t each) {
        return test::widened(test::image_of(batch, i, each));
      };
      EXPECT_NEAR(test::dot(wide(all, canvas_size), wide(v, canvas_size)),
                  test::dot(wide(u, size), wide(back, size)), 2e-5);
    }
  }
}

}  // namespace
}  // namespace filterscope
