#include "host/ascent/operations/picture.h"

#include "operations.h"

namespace filterscope {
namespace {

using reference::Map;

std::vector<Picture> pictures() {
  std::vector<Picture> all(4);
  all[1].kind = Picture::Kind::standardise;
  all[2].kind = Picture::Kind::standardise;
  all[2].deviation = 0.25f;
  all[2].centre = 0.45f;
  all[2].rounding = Picture::Rounding::truncate;
  all[3].kind = Picture::Kind::clip;
  all[3].low = -0.5f;
  all[3].high = 0.75f;
  return all;
}

TEST(EncodePicture, RoundsTheReferencesValues) {
  for (const Extent extent : test::kExtents) {
    for (const Picture& picture : pictures()) {
      const Map image = test::random_map(extent, 1, -1.f);
      const std::vector<std::uint8_t> found = encode_picture(picture, reference::to_float(image), extent);
      const reference::Values expected = reference::picture_values(picture, image);
      ASSERT_EQ(found.size(), expected.size());
      const double half = picture.rounding == Picture::Rounding::nearest ? 0.5 : 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        // In fp32, values within 1e-4 of a boundary may fall on either side.
        EXPECT_LE(found[i], std::floor(expected[i] + half + 1e-4));
        EXPECT_GE(found[i], std::floor(expected[i] + half - 1e-4));
      }
    }
  }
}

TEST(EncodePicture, ConstantImagesHaveNoContrast) {
  const std::vector<float> image(12, 3.f);
  EXPECT_EQ(encode_picture({}, image, {2, 2}), std::vector<std::uint8_t>(12, 0));
  Picture standardised;
  standardised.kind = Picture::Kind::standardise;
  EXPECT_EQ(encode_picture(standardised, image, {2, 2}), std::vector<std::uint8_t>(12, 128));
}

TEST(EncodePicture, CropsAfterTheWholeImageWasJudged) {
  const Extent extent{7, 9};
  const Map image = test::random_map(extent, 2, -1.f);
  for (Picture picture : pictures()) {
    const std::vector<std::uint8_t> whole = encode_picture(picture, reference::to_float(image), extent);
    picture.crop = 2;
    const std::vector<std::uint8_t> cropped = encode_picture(picture, reference::to_float(image), extent);
    ASSERT_EQ(cropped.size(), std::size_t{3 * 5 * 3});
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 5; ++x)
        for (int c = 0; c < 3; ++c)
          EXPECT_EQ(cropped[(y * 5 + x) * 3 + c], whole[((y + 2) * 9 + x + 2) * 3 + c]);
  }
}

TEST(Resample, MatchesTheReference) {
  for (const Extent from : {Extent{5, 7}, Extent{12, 9}}) {
    for (const Extent to : {Extent{8, 8}, Extent{13, 5}, Extent{4, 3}, from}) {
      for (const auto kind : {Resampling::Kind::bilinear, Resampling::Kind::bicubic}) {
        const Map image = test::random_map(from, 3, -1.f);
        std::vector<float> found = test::poison(test::image_size(to));
        resample({.kind = kind}, {}, reference::to_float(image), from, found, to);
        test::expect_close(found, reference::resample(kind, image, to).values, 1e-6);
      }
    }
  }
}

TEST(Resample, KeepsMomentsAndGoesThroughThePicture) {
  for (const bool keep_moments : {false, true}) {
    for (const bool through_picture : {false, true}) {
      const Resampling resampling{Resampling::Kind::bicubic, keep_moments, through_picture};
      for (const Picture& picture : pictures()) {
        for (const Extent from : {Extent{6, 7}, Extent{12, 9}}) {
          const Extent to{11, 8};
          const Map image = test::random_map(from, 4, -3.f);
          std::vector<float> found = test::poison(test::image_size(to));
          resample(resampling, picture, reference::to_float(image), from, found, to);
          test::expect_close(found, reference::resample(resampling, picture, image, to).values, 2e-6);
        }
      }
    }
  }
}

TEST(EncodePicture, ResamplesBeforeItJudgesAndCrops) {
  for (Picture picture : pictures()) {
    const Extent from{9, 7};
    picture.extent = Extent{12, 11};
    picture.resampling = {Resampling::Kind::bicubic, true, true};
    picture.crop = 1;
    const Map image = test::random_map(from, 5, -1.f);
    const std::vector<std::uint8_t> found = encode_picture(picture, reference::to_float(image), from);
    ASSERT_EQ(found.size(), std::size_t{10 * 9 * 3});
    Map whole = reference::resample(picture.resampling, picture, image, *picture.extent);
    whole.values = reference::picture_values(picture, whole);
    const double half = picture.rounding == Picture::Rounding::nearest ? 0.5 : 0;
    for (int y = 0; y < 10; ++y) {
      for (int x = 0; x < 9; ++x) {
        for (int c = 0; c < 3; ++c) {
          const double expected = whole.at(y + 1, x + 1, c) + half;
          EXPECT_LE(found[(y * 9 + x) * 3 + c], std::floor(expected + 1e-4));
          EXPECT_GE(found[(y * 9 + x) * 3 + c], std::floor(expected - 1e-4));
        }
      }
    }
  }
}

// The bytes that resample() makes of `bytes` by way of the picture.
std::vector<int> resampled(Resampling::Kind kind, const std::vector<int>& bytes, Extent from, Extent to) {
  std::vector<float> image;
  for (const int byte : bytes) image.push_back(static_cast<float>(byte) / 255.f);
  // A picture mapping that leaves bytes as they are: mean and deviation are those of the bytes over 255.
  double sum = 0;
  for (const float value : image) sum += value;
  const double mean = sum / static_cast<double>(image.size());
  double squares = 0;
  for (const float value : image) squares += std::pow(value - mean, 2);
  Picture picture;
  picture.kind = Picture::Kind::standardise;
  picture.centre = static_cast<float>(mean);
  picture.deviation = static_cast<float>(std::sqrt(squares / static_cast<double>(image.size())));
  picture.epsilon = 0;
  std::vector<float> found = test::poison(test::image_size(to));
  resample({.kind = kind, .keep_moments = false, .through_picture = true}, picture, image, from, found, to);
  std::vector<int> result;
  for (const float value : found) {
    result.push_back(static_cast<int>(std::round(value * 255)));
    EXPECT_NEAR(value * 255, result.back(), 1e-3);
  }
  return result;
}

// What Pillow 13 makes of the 5 x 4 picture whose bytes are 37 i mod 256. (Some versions take columns first
// where they make a picture lower, which no recipe does.)
TEST(Resample, ThroughThePictureIsPillows) {
  std::vector<int> bytes;
  for (int i = 0; i < 60; ++i) bytes.push_back(i * 37 % 256);
  const std::vector<int> expected{
      0,   20,  67,  25,  72,  116, 105, 149, 187, 186, 74,  110, 222, 0,   34,  128, 74,  111,
      67,  126, 163, 162, 195, 0,   114, 159, 45,  46,  102, 130, 113, 128, 178, 170, 151, 189,
      65,  82,  131, 0,   39,  95,  161, 213, 127, 162, 140, 97,  159, 26,  58,  136, 83,  138,
      114, 168, 198, 119, 167, 84,  126, 160, 11,  67,  132, 189, 128, 116, 165, 219, 87,  124,
      133, 72,  126, 46,  88,  130, 137, 181, 102, 198, 235, 84,  85,  59,  96,  109, 112, 151,
      143, 195, 234, 100, 150, 154, 55,  92,  74,  90,  126, 156, 114, 151, 211, 255, 9,   46,
      196, 47,  94,  96,  121, 165, 153, 207, 94,  210, 247, 22,  110, 147, 93,  46,  83,  141};
  EXPECT_EQ(resampled(Resampling::Kind::bicubic, bytes, {5, 4}, {6, 7}), expected);
}

// Pictures large enough for sums so close to a half that they tell how Pillow rounds weights. The hash of
// Pillow's bytes is FNV-1a.
TEST(Resample, ThroughThePictureIsPillowsToTheByte) {
  struct Case {
    Resampling::Kind kind;
    Extent from;
    Extent to;
    std::uint64_t hash;
  };
  for (const auto& [kind, from, to, hash] :
       {Case{Resampling::Kind::bicubic, {79, 79}, {95, 95}, 0x50be5d10cb6f7551},
        Case{Resampling::Kind::bicubic, {45, 61}, {52, 33}, 0x1b946b1415f5439b},
        Case{Resampling::Kind::bilinear, {45, 61}, {52, 33}, 0x2253439cc899c711},
        Case{Resampling::Kind::bilinear, {53, 47}, {30, 31}, 0xbd9222ce30d4dc74}}) {
    std::vector<int> bytes;
    for (std::uint64_t i = 0; i < test::image_size(from); ++i)
      bytes.push_back(static_cast<int>((i * i * 7 + i * 37 + (i >> 5)) % 256));
    std::uint64_t found = 0xcbf29ce484222325;
    for (const int byte : resampled(kind, bytes, from, to))
      found = (found ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3;
    EXPECT_EQ(found, hash) << testing::PrintToString(from) << " to " << testing::PrintToString(to);
  }
}

}  // namespace
}  // namespace filterscope
