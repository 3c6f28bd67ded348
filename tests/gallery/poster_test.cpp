#include "host/gallery/poster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "gallery_fixture.h"
#include "host/gallery/curves.h"
#include "host/gallery/pictures.h"
#include "tests/output/picture_text.h"

namespace filterscope {
namespace {

using testing::HasSubstr;

std::map<Rgb, int> colours_in(const RgbImage& picture) {
  std::map<Rgb, int> counts;
  for (std::size_t i = 0; i < picture.pixels.size(); i += 3)
    ++counts[{picture.pixels[i], picture.pixels[i + 1], picture.pixels[i + 2]}];
  return counts;
}

class PosterTest : public GalleryFixture {};

TEST_F(PosterTest, HoldsEveryPicture) {
  status_ = {{{4, 20}, FilterStatus::dead}, {{4, 21}, FilterStatus::rescued}};
  std::vector<FilterId> selection;
  for (const int layer : {0, 4})
    for (int filter = 0; filter < 40; ++filter) selection.push_back({layer, filter});
  render(selection, {{4, 39}});
  const StoredRun run = stored();
  ASSERT_EQ(poster_tile(run), 32);
  const PictureSurvey survey = survey_pictures(run, out_, "small", 32);
  const RgbImage poster = draw_poster(run, survey);
  const std::map<Rgb, int> colours = colours_in(poster);
  const auto area = [&](Rgb colour) { return colours.contains(colour) ? colours.at(colour) : 0; };
  for (const FilterId id : selection) {
    const int expected = id == FilterId{4, 39} ? 0 : static_cast<int>(kExtent.positions());
    if (id == FilterId{4, 20})
      EXPECT_LT(area(colour_of(id)), expected);  // The mark of dead ones covers a part.
    else if (id == FilterId{4, 21})              // The mark of rescued filters covers a corner.
      EXPECT_EQ(area(colour_of(id)) + area({122, 170, 214}), expected);
    else
      EXPECT_EQ(area(colour_of(id)), expected) << id.layer << ' ' << id.filter;
  }
  EXPECT_GT(area({240, 82, 74}), 2 * (kExtent.height + kExtent.width));
  EXPECT_GT(area({122, 170, 214}), 3);
  EXPECT_GT(area({245, 180, 60}), 10000);  // The label of synthetic weights.
  EXPECT_EQ(area({34, 36, 40}), kExtent.positions());

  // Few filters have larger pictures.
  render({{0, 0}, {0, 1}});
  EXPECT_EQ(poster_tile(stored()), 128);
}

TEST_F(PosterTest, SaysHowThePicturesWereMadeLikeTheCurves) {
  const auto poster = [&] {
    const StoredRun run = stored();
    return draw_poster(run, survey_pictures(run, out_, "small", poster_tile(run)));
  };
  options_.seed = 7;
  recipe_.stages.front().iterations = 1;
  render({{0, 0}});
  // The text is wrapped to the poster's width.
  for (const char* part : {"1 filter,", "1 iteration,", "24 x 16", "seed 7,"})
    EXPECT_TRUE(holds_text(poster(), part)) << part;
  EXPECT_THAT(draw_curves(stored(), 0, 1), HasSubstr("1 filter; "));

  init_ = InitRecord{.file = "/home/someone/photo.npy", .sha256 = "0123", .filters = ""};
  render({{0, 0}, {0, 1}});
  EXPECT_TRUE(holds_text(poster(), "photo.npy,"));
  EXPECT_FALSE(holds_text(poster(), "seed 7"));
  EXPECT_TRUE(holds_text(read_png(out_ / "block1_conv1/sheet.png").value(), "photo.npy,"));
  EXPECT_THAT(draw_curves(stored(), 0, 2),
              HasSubstr("recipe seed, 1 iteration, 24 x 16 pixels, started from photo.npy"));
}

}  // namespace
}  // namespace filterscope
