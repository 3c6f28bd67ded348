#include "host/ascent/operations/transforms.h"

#include <set>

#include "operations.h"

namespace filterscope {
namespace {

using reference::Map;
using Kind = Transform::Kind;

Transforms all_kinds() {
  return {.list = {{.kind = Kind::pad, .pixels = 2, .draw = {}},
                   {.kind = Kind::jitter, .pixels = 4, .draw = {}},
                   {.kind = Kind::scale, .pixels = 0, .draw = {.choices = {0.8f, 1.f, 1.25f}}},
                   {.kind = Kind::rotate, .pixels = 0, .draw = {.choices = {}, .low = -20.f, .high = 20.f}},
                   {.kind = Kind::jitter, .pixels = 3, .draw = {}}},
          .border = Border::constant,
          .value = 0.5f};
}

// Positions are rounded to about 1e-6 pixels, and samples change by at most their difference per pixel.
constexpr double kTolerance = 5e-6;

TEST(DrawMap, NothingIsDrawnAtRest) {
  EXPECT_EQ(draw_map(all_kinds(), 1, {2, 3}, 0), AffineMap());
}

TEST(DrawMap, DependsOnSeedLayerFilterAndIteration) {
  const Transforms transforms = all_kinds();
  const AffineMap map = draw_map(transforms, 1, {2, 3}, 4);
  EXPECT_EQ(map, draw_map(transforms, 1, {2, 3}, 4));
  EXPECT_NE(map, draw_map(transforms, 2, {2, 3}, 4));
  EXPECT_NE(map, draw_map(transforms, 1, {1, 3}, 4));
  EXPECT_NE(map, draw_map(transforms, 1, {2, 2}, 4));
  EXPECT_NE(map, draw_map(transforms, 1, {2, 3}, 5));
}

TEST(DrawMap, DrawsEveryChoiceAndShift) {
  const Transforms jitter{.list = {{.kind = Kind::jitter, .pixels = 4, .draw = {}}}};
  const Transforms scale{.list = {{.kind = Kind::scale, .pixels = 0, .draw = {.choices = {0.5f, 2.f}}}}};
  std::set<float> shifts;
  std::set<float> factors;
  for (int iteration = 1; iteration <= 200; ++iteration) {
    const AffineMap shifted = draw_map(jitter, 0, {0, 0}, iteration);
    shifts.insert(shifted.shift[0]);
    shifts.insert(shifted.shift[1]);
    factors.insert(draw_map(scale, 0, {0, 0}, iteration).matrix[0][0]);
  }
  EXPECT_EQ(shifts, (std::set<float>{2.f, 1.f, 0.f, -1.f}));  // The content moves by -2 to 1.
  EXPECT_EQ(factors, (std::set<float>{2.f, 0.5f}));
}

TEST(DrawMap, FlipsEveryOtherTime) {
  const Transforms flip{.list = {{.kind = Kind::flip}}};
  int flipped = 0;
  for (int iteration = 1; iteration <= 200; ++iteration) {
    const AffineMap map = draw_map(flip, 0, {0, 0}, iteration);
    EXPECT_EQ(map.matrix[0][0], 1.f);
    EXPECT_EQ(std::abs(map.matrix[1][1]), 1.f);
    flipped += map.matrix[1][1] < 0;
  }
  EXPECT_NEAR(flipped, 100, 35);  // Five standard deviations.
}

TEST(DrawMap, TurnsCounterClockwise) {
  const Transforms turn{.list = {{.kind = Kind::rotate, .pixels = 0, .draw = {.choices = {90.f}}}}};
  const Extent extent{3, 3};
  std::vector<float> image(27);
  image[(1 * 3 + 2) * 3] = 1.f;  // Right of the centre.
  std::vector<float> canvas = test::poison(27);
  warp(draw_map(turn, 0, {0, 0}, 1), Border::constant, 0.f, image, extent, canvas, extent);
  EXPECT_NEAR(canvas[(0 * 3 + 1) * 3], 1.f, 1e-6);  // Above it.
}

TEST(DrawMap, TransformsFollowEachOther) {
  const Transform enlarge{.kind = Kind::scale, .pixels = 0, .draw = {.choices = {2.f}}};
  const Transform jitter{.kind = Kind::jitter, .pixels = 9, .draw = {}};
  const AffineMap alone = draw_map({.list = {jitter}}, 5, {1, 1}, 1);
  ASSERT_NE(alone.shift[0], 0.f);
  const AffineMap before = draw_map({.list = {jitter, enlarge}}, 5, {1, 1}, 1);
  EXPECT_EQ(before.shift[0], alone.shift[0]);  // image = position / 2 + shift.
  EXPECT_EQ(before.matrix[0][0], 0.5f);
  const AffineMap later = draw_map({.list = {enlarge, jitter}}, 5, {1, 1}, 1);
  const AffineMap second =
      draw_map({.list = {{.kind = Kind::pad, .pixels = 0, .draw = {}}, jitter}}, 5, {1, 1}, 1);
  EXPECT_EQ(later.shift[0], 0.5f * second.shift[0]);  // image = (position + shift) / 2.
}

TEST(DrawMap, MatchesTheReference) {
  for (int iteration = 0; iteration < 100; ++iteration) {
    for (const FilterId id : {FilterId{0, 63}, FilterId{12, 511}}) {
      const AffineMap found = draw_map(all_kinds(), 0x123456789abcULL, id, iteration);
      const AffineMap expected = reference::draw_map(all_kinds(), 0x123456789abcULL, id, iteration);
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) EXPECT_NEAR(found.matrix[i][j], expected.matrix[i][j], 5e-7);
        EXPECT_NEAR(found.shift[i], expected.shift[i], 2e-6);
      }
    }
  }
}

TEST(Warp, MatchesTheReferenceWithEveryBorder) {
  for (const Extent extent : test::kExtents) {
    for (const Extent canvas : {extent, Extent{extent.height + 4, extent.width + 2}}) {
      for (const Border border : {Border::constant, Border::edge, Border::reflect, Border::wrap}) {
        for (int iteration = 0; iteration < 4; ++iteration) {
          const AffineMap map = draw_map(all_kinds(), 9, {1, 2}, iteration);
          const Map image = test::random_map(extent, 10);
          std::vector<float> found = test::poison(test::image_size(canvas));
          warp(map, border, 0.5f, reference::to_float(image), extent, found, canvas);
          test::expect_close(found, reference::warp(map, border, 0.5, image, canvas).values, kTolerance);
        }
      }
    }
  }
}

TEST(Warp, CopiesAtRest) {
  const Extent extent{6, 7};
  const std::vector<float> image = test::random_values(test::image_size(extent), 11);
  std::vector<float> canvas = test::poison(image.size());
  warp({}, Border::constant, 0.5f, image, extent, canvas, extent);
  EXPECT_EQ(canvas, image);
}

TEST(WarpAdjoint, MatchesTheReference) {
  for (const Extent extent : test::kExtents) {
    for (const Extent canvas : {extent, Extent{extent.height + 4, extent.width + 2}}) {
      for (int iteration = 0; iteration < 20; ++iteration) {
        const AffineMap map = draw_map(all_kinds(), 12, {1, 2}, iteration);
        const Map gradient = test::random_map(canvas, 13, -1.f);
        std::vector<float> found = test::poison(test::image_size(extent));
        warp_adjoint(map, reference::to_float(gradient), canvas, found, extent);
        test::expect_close(found, reference::warp_adjoint(map, gradient, extent).values, 2 * kTolerance);
      }
    }
  }
}

TEST(WarpAdjoint, IsTheAdjoint) {
  const Extent extent{11, 8};
  const Extent canvas{9, 10};
  for (int iteration = 1; iteration < 20; ++iteration) {
    const AffineMap map = draw_map(all_kinds(), 14, {0, 1}, iteration);
    const Map u = test::random_map(extent, 15, -1.f);
    const Map v = test::random_map(canvas, 16, -1.f);
    std::vector<float> warped = test::poison(v.values.size());
    std::vector<float> gathered = test::poison(u.values.size());
    warp(map, Border::constant, 0.f, reference::to_float(u), extent, warped, canvas);
    warp_adjoint(map, reference::to_float(v), canvas, gathered, extent);
    EXPECT_NEAR(test::dot(test::widened(warped), v.values), test::dot(u.values, test::widened(gathered)),
                1e-4);
  }
}

TEST(KeptTransforms, MatchTheReference) {
  const Extent extent{7, 9};
  const Transforms kept{
      .list = {{.kind = Kind::jitter, .pixels = 5, .draw = {}, .border = Border::wrap},
               {.kind = Kind::rotate, .pixels = 0, .draw = {.choices = {}, .low = -9.f, .high = 9.f}},
               {.kind = Kind::scale, .pixels = 0, .draw = {.choices = {0.9f, 1.2f}}, .border = Border::edge}},
      .border = Border::reflect};
  for (int iteration = 1; iteration < 20; ++iteration) {
    const Map start = test::random_map(extent, 17, -1.f);
    std::vector<float> image = reference::to_float(start);
    std::vector<float> scratch = test::poison(image.size());
    apply_kept_transforms(kept, 3, {1, 2}, iteration, extent, image, scratch);
    const Map expected = reference::keep_transforms(kept, 3, {1, 2}, iteration, start);
    test::expect_close(image, expected.values, 3 * kTolerance);
    EXPECT_NE(image, reference::to_float(start));
  }
}

TEST(KeptTransforms, WrappedShiftsMovePixels) {
  const Extent extent{5, 6};
  const Transforms roll{.list = {{.kind = Kind::jitter, .pixels = 5, .draw = {}}}, .border = Border::wrap};
  std::vector<float> image = test::random_values(test::image_size(extent), 18);
  std::multiset<float> before(image.begin(), image.end());
  std::vector<float> scratch(image.size());
  apply_kept_transforms(roll, 0, {0, 0}, 1, extent, image, scratch);
  EXPECT_EQ(std::multiset<float>(image.begin(), image.end()), before);
}

}  // namespace
}  // namespace filterscope
