#include "host/cuda/picture_encoder.h"

#include "tests/kernels/image/images.h"

namespace filterscope {
namespace {

using cuda::PictureEncoder;
using cuda::Resampler;

class PictureEncoderTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(PictureEncoderTest);

// More than are resampled at a time.
constexpr int kImages = 11;

std::vector<Picture> pictures() {
  std::vector<Picture> all{{.kind = Picture::Kind::min_max},
                           {.kind = Picture::Kind::standardise, .deviation = 0.15f},
                           {.kind = Picture::Kind::clip, .low = -0.5f, .high = 1.25f}};
  for (int i = 0; i < 3; ++i) {
    Picture truncated = all[i];
    truncated.rounding = Picture::Rounding::truncate;
    truncated.crop = 1;
    all.push_back(truncated);
  }
  return all;
}

std::vector<Resampling> resamplings() {
  std::vector<Resampling> all;
  for (const auto kind : {Resampling::Kind::bilinear, Resampling::Kind::bicubic})
    for (const bool moments : {false, true})
      for (const bool through : {false, true}) all.push_back({kind, moments, through});
  return all;
}

std::vector<float> images_of(Extent extent, std::uint64_t seed) {
  std::vector<float> images = test::random_values(kImages * test::image_size(extent), seed, -1.f, 2.f);
  // Nearly constant, far from zero; and constant.
  const std::size_t size = test::image_size(extent);
  for (std::size_t i = 0; i < size; ++i) {
    images[size + i] = 100 + 0.01f * images[size + i];
    images[2 * size + i] = 0.25f;
  }
  return images;
}

std::vector<float> resampled(const Resampling& resampling, const Picture& picture,
                             const std::vector<float>& images, Extent from, Extent to) {
  const auto device_images = test::upload(images);
  const auto result = test::poisoned<float>(kImages * test::image_size(to));
  const Resampler resampler(resampling, picture, from, to);
  resampler(device_images.data(), result.data(), kImages, nullptr);
  return test::download(result);
}

// In both directions, and in one only.
const std::vector<std::pair<Extent, Extent>> kSizes{
    {{5, 7}, {9, 12}}, {{13, 11}, {4, 5}}, {{8, 5}, {7, 9}}, {{6, 6}, {6, 6}}};

TEST_P(PictureEncoderTest, ResamplesLikeTheReference) {
  for (const auto& [from, to] : kSizes) {
    const std::vector<float> images = images_of(from, 1);
    for (const auto kind : {Resampling::Kind::bilinear, Resampling::Kind::bicubic}) {
      const std::vector<float> found = resampled({.kind = kind}, {}, images, from, to);
      for (int i = 0; i < kImages; ++i) {
        // Sums in double, rounded to float after each dimension.
        test::expect_close(test::image_of(found, i, test::image_size(to)),
                           reference::resample(kind, test::map_of(images, i, from), to).values, 3e-7);
      }
    }
  }
}

TEST_P(PictureEncoderTest, ResamplesLikeTheHost) {
  const Picture picture{.kind = Picture::Kind::standardise, .deviation = 0.2f};
  for (const auto& [from, to] : kSizes) {
    const std::vector<float> images = images_of(from, 2);
    for (const Resampling& resampling : resamplings()) {
      const std::vector<float> found = resampled(resampling, picture, images, from, to);
      for (int i = 0; i < kImages; ++i) {
        std::vector<float> expected = test::poison(test::image_size(to));
        resample(resampling, picture, test::image_of(images, i, test::image_size(from)), from, expected, to);
        test::expect_close(test::image_of(found, i, test::image_size(to)), expected, 1e-6);
      }
    }
  }
}

std::vector<std::uint8_t> encoded(const Recipe& recipe, const std::vector<float>& images, Extent extent) {
  const auto device_images = test::upload(images);
  const auto result = test::poisoned<std::uint8_t>(kImages * test::image_size(recipe.picture_extent()));
  const PictureEncoder encoder(recipe, extent);
  encoder(device_images.data(), result.data(), kImages, nullptr);
  return test::download(result);
}

TEST_P(PictureEncoderTest, EncodesTheHostsBytes) {
  for (const Extent extent : {Extent{5, 7}, Extent{21, 16}}) {
    const std::vector<float> images = images_of(extent, 3);
    for (const Picture& picture : pictures()) {
      Recipe recipe;
      recipe.stages.front().extent = extent;
      recipe.picture = picture;
      const std::vector<std::uint8_t> found = encoded(recipe, images, extent);
      const std::size_t size = test::image_size(recipe.picture_extent());
      for (int i = 0; i < kImages; ++i) {
        const std::vector<std::uint8_t> expected =
            encode_picture(picture, test::image_of(images, i, test::image_size(extent)), extent);
        EXPECT_TRUE(std::ranges::equal(test::image_of(found, i, size), expected)) << i;
      }
    }
  }
}

TEST_P(PictureEncoderTest, ResamplesToTheLastStageAndToThePicture) {
  const Extent early{5, 7};
  const Extent last{8, 11};
  const std::vector<float> images = images_of(early, 4);
  for (Picture picture : pictures()) {
    for (const bool resized : {false, true}) {
      if (resized) picture.extent = Extent{13, 10};
      picture.resampling = {Resampling::Kind::bicubic, true, false};
      Recipe recipe;
      recipe.stages.resize(2);
      recipe.stages.back().extent = last;
      recipe.picture = picture;
      const std::vector<std::uint8_t> found = encoded(recipe, images, early);
      const std::size_t size = test::image_size(recipe.picture_extent());
      for (int i = 0; i < kImages; ++i) {
        std::vector<float> middle = test::poison(test::image_size(last));
        resample({}, picture, test::image_of(images, i, test::image_size(early)), early, middle, last);
        const std::vector<std::uint8_t> expected = encode_picture(picture, middle, last);
        const std::span<const std::uint8_t> own = test::image_of(found, i, size);
        ASSERT_EQ(own.size(), expected.size());
        // Where the two differ in the last bit of a value at the boundary of two bytes.
        for (std::size_t at = 0; at < size; ++at) ASSERT_NEAR(own[at], expected[at], 1) << i;
      }
    }
  }
}

}  // namespace
}  // namespace filterscope
