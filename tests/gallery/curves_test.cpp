#include "host/gallery/curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "gallery_fixture.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

class CurvesTest : public GalleryFixture {};

TEST_F(CurvesTest, OfALayer) {
  status_ = {
      {{2, 1}, FilterStatus::dead}, {{2, 2}, FilterStatus::nonfinite}, {{2, 7}, FilterStatus::rescued}};
  weights_.name = "a<b>&c.h5";
  weights_.kind = WeightsKind::keras_hdf5;
  std::vector<FilterId> selection;
  for (int filter = 0; filter < 10; ++filter) selection.push_back({2, filter});
  render(selection, {{2, 9}});
  const StoredRun run = stored();
  const std::string svg = draw_curves(run, 0, 10);
  const auto count = [&](const std::string& text) {
    std::ptrdiff_t found = 0;
    for (std::size_t at = svg.find(text); at != std::string::npos; at = svg.find(text, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("<title>"), 9);
  EXPECT_EQ(count("class=\"dead\""), 1);
  EXPECT_EQ(count("class=\"median\""), 1);
  EXPECT_EQ(count("class=\"name\""), 3);
  EXPECT_THAT(svg,
              AllOf(HasSubstr("10 filters, 1 rescued, 1 dead (red), 1 missing"),
                    HasSubstr("a&lt;b&gt;&amp;c.h5"), HasSubstr(">8 (25.5)<"), HasSubstr(">7 (22.5)<"),
                    HasSubstr(">6 (19.5)<"), Not(HasSubstr("nan")), Not(HasSubstr("Synthetic weights"))));
  EXPECT_EQ(count("<"), count(">"));
}

TEST_F(CurvesTest, RunFromTheFirstToTheFinalLoss) {
  render({{0, 2}, {0, 3}}, {{0, 3}});
  const StoredRun run = stored();
  std::vector<std::pair<int, float>> points;
  for (const CurvePoint& point : loss_curve(run, 0)) points.emplace_back(point.steps, point.loss);
  EXPECT_THAT(points,
              ElementsAre(std::pair(0, 2.5f), std::pair(9, 3.75f), std::pair(19, 5.f), std::pair(30, 7.5f)));
  EXPECT_THAT(loss_curve(run, 1), SizeIs(0));
}

}  // namespace
}  // namespace filterscope
