#include "host/gallery/pictures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "gallery_fixture.h"

namespace filterscope {
namespace {

using testing::ElementsAre;

class PicturesTest : public GalleryFixture {};

TEST(PictureColours, HueOfPureColours) {
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {255, 0, 0})).hue, 0);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {255, 255, 0})).hue, 60);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 255, 0})).hue, 120);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 255, 255})).hue, 180);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 0, 255})).hue, 240);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {255, 0, 255})).hue, 300);
  EXPECT_FLOAT_EQ(colours_of(uniform(kExtent, {0, 0, 255})).chroma, 1);
  EXPECT_NEAR(colours_of(uniform(kExtent, {90, 90, 90})).chroma, 0, 1e-6);
}

TEST(PictureColours, OppositeColoursCancelAndContrastRemains) {
  RgbImage picture = uniform(kExtent, {255, 255, 255});
  std::fill(picture.pixels.begin(), picture.pixels.begin() + picture.extent.positions() * 3 / 2, 0);
  EXPECT_NEAR(colours_of(picture).contrast, 0.5, 1e-6);
  EXPECT_NEAR(colours_of(picture).chroma, 0, 1e-6);
  EXPECT_NEAR(colours_of(uniform(kExtent, {12, 200, 90})).contrast, 0, 1e-6);
  // Half red and half cyan is grey overall.
  for (std::size_t i = 0; i < picture.pixels.size(); i += 3)
    for (std::size_t c = 0; c < 3; ++c) picture.pixels[i + c] = (i % 2 == 0) == (c == 0) ? 255 : 0;
  EXPECT_NEAR(colours_of(picture).chroma, 0, 1e-6);
}

TEST_F(PicturesTest, AtlasesHoldEveryPictureInItsPlace) {
  std::vector<FilterId> selection{{0, 3}};
  for (int filter = 0; filter < 75; ++filter) selection.push_back({5, 2 * filter});
  render(selection);
  const PictureSurvey survey = survey_pictures(stored(), out_, "small");
  EXPECT_EQ(survey.thumbnail, kExtent);
  ASSERT_EQ(survey.layers.size(), 2u);
  EXPECT_THAT(survey.layers[0].files, ElementsAre("small/block1_conv1_0.jpg"));
  EXPECT_THAT(survey.layers[1].files, ElementsAre("small/block3_conv2_0.jpg", "small/block3_conv2_1.jpg"));
  EXPECT_EQ(survey.layers[1].first, 1u);
  EXPECT_EQ(survey.layers[1].count, 75u);

  for (std::size_t row = 0; row < selection.size(); ++row) {
    EXPECT_EQ(survey.pictures[row].state, PictureState::there);
    const std::size_t in_layer = row == 0 ? 0 : row - 1;
    const RgbImage atlas =
        decode_jpeg(out_ / survey.layers[row == 0 ? 0 : 1].files[in_layer / kAtlasPictures]);
    const int count = row == 0 ? 1 : in_layer < kAtlasPictures ? kAtlasPictures : 75 - kAtlasPictures;
    ASSERT_EQ(atlas.extent, (Extent{(count + 7) / 8 * kExtent.height, 8 * kExtent.width}));
    const int place = static_cast<int>(in_layer) % kAtlasPictures;
    const int y = place / 8 * kExtent.height + kExtent.height / 2;
    const int x = place % 8 * kExtent.width + kExtent.width / 2;
    for (std::size_t c = 0; c < 3; ++c)  // JPEG keeps a uniform colour within a few steps of quantisation.
      EXPECT_NEAR(atlas.pixels[static_cast<std::size_t>(y * atlas.extent.width + x) * 3 + c],
                  colour_of(selection[row])[c], 8)
          << row;
  }
}

TEST_F(PicturesTest, LargePicturesAreReducedInAtlases) {
  recipe_.stages.front().extent = {300, 300};
  const std::filesystem::path file = out_ / "block1_conv1/block1_conv1_f0000.png";
  render({{0, 0}}, {{0, 0}});
  StoredRun run = stored();
  run.manifest.filters[0].status = FilterStatus::ok;
  write_png(file, uniform({300, 300}, {9, 8, 7}).pixels, {300, 300});
  const PictureSurvey survey = survey_pictures(run, out_, "small", 40);
  EXPECT_EQ(survey.thumbnail, (Extent{100, 100}));
  EXPECT_EQ(survey.pictures[0].small.extent, (Extent{38, 38}));  // 300 / 8, rounded up.
}

TEST_F(PicturesTest, DistinguishesLostPicturesFromUnfinishedOnes) {
  render({{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}}, {{0, 1}});
  std::filesystem::remove(out_ / "block1_conv1/block1_conv1_f0002.png");
  write_text(out_ / "block1_conv1/block1_conv1_f0003.png", "no picture");
  write_png(out_ / "block1_conv1/block1_conv1_f0004.png", uniform({8, 8}, {1, 2, 3}).pixels, {8, 8});
  const PictureSurvey survey = survey_pictures(stored(), out_, "small");
  std::vector<PictureState> states;
  for (const PictureRecord& picture : survey.pictures) states.push_back(picture.state);
  EXPECT_THAT(states, ElementsAre(PictureState::there, PictureState::none, PictureState::missing,
                                  PictureState::damaged, PictureState::damaged));
}

}  // namespace
}  // namespace filterscope
