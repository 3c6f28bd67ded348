#include "pictures.h"

#include <fmt/format.h>
#include <stb_image_write.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <numbers>
#include <span>
#include <system_error>

#include "../base/atomic_file.h"
#include "../base/parallel.h"
#include "../output/canvas.h"
#include "../store/file_names.h"
#include "../store/sheet.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

// The pictures' noise hides the loss; 4224 pictures of 96 x 96 take 20 MB.
constexpr int kJpegQuality = 80;

std::vector<std::uint8_t> encode_jpeg(const RgbImage& picture) {
  std::vector<std::uint8_t> file;
  const auto append = [](void* context, void* data, int size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    auto* all = static_cast<std::vector<std::uint8_t>*>(context);
    all->insert(all->end(), bytes, bytes + size);
  };
  constexpr int kChannels = 3;
  if (stbi_write_jpg_to_func(append, &file, picture.extent.width, picture.extent.height, kChannels,
                             picture.pixels.data(), kJpegQuality) == 0)
    throw std::bad_alloc();
  return file;
}

/// Reads the picture of one filter, and stores its small version in `thumbnail`.
PictureRecord survey_picture(const StoredRun& run, const FilterRecord& filter, int largest_small,
                             RgbImage& thumbnail) {
  PictureRecord record;
  if (!filter.status) return record;
  const fs::path path = run.folder / picture_file(run.manifest.network, filter.id);
  const auto picture = read_png(path);
  if (!picture || picture->extent != run.manifest.recipe.picture_extent()) {
    std::error_code ignored;
    record.state = fs::exists(path, ignored) ? PictureState::damaged : PictureState::missing;
    return record;
  }
  record.state = PictureState::there;
  record.colours = colours_of(*picture);
  if (largest_small > 0) record.small = scale_tile(picture->pixels, picture->extent, largest_small);
  thumbnail = scale_tile(picture->pixels, picture->extent, kThumbnail);
  return record;
}

}  // namespace

PictureColours colours_of(const RgbImage& picture) {
  double red = 0, green = 0, blue = 0, luma_sum = 0, luma_squares = 0;
  const std::size_t count = picture.pixels.size() / 3;
  for (std::size_t i = 0; i < count; ++i) {
    const double r = picture.pixels[3 * i] / 255., g = picture.pixels[3 * i + 1] / 255.,
                 b = picture.pixels[3 * i + 2] / 255.;
    const double luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    red += r;
    green += g;
    blue += b;
    luma_sum += luma;
    luma_squares += luma * luma;
  }
  const auto n = static_cast<double>(std::max<std::size_t>(count, 1));
  const double alpha = (red - (green + blue) / 2) / n;
  const double beta = std::sqrt(3.) / 2 * (green - blue) / n;
  double hue = std::atan2(beta, alpha) * 180 / std::numbers::pi;
  if (hue < 0) hue += 360;
  const double mean = luma_sum / n;
  return {.hue = static_cast<float>(hue),
          .chroma = static_cast<float>(std::hypot(alpha, beta)),
          .contrast = static_cast<float>(std::sqrt(std::max(0., luma_squares / n - mean * mean)))};
}

PictureSurvey survey_pictures(const StoredRun& run, const fs::path& page_folder,
                              const std::string& atlas_folder, int largest_small) {
  PictureSurvey survey;
  survey.thumbnail = tile_extent(run.manifest.recipe.picture_extent(), kThumbnail);
  survey.pictures.resize(run.manifest.filters.size());

  struct Task {
    std::size_t first = 0, count = 0;  ///< Rows of the manifest.
    std::string file;
  };
  std::vector<Task> tasks;
  const std::vector<FilterRecord>& filters = run.manifest.filters;
  for (std::size_t first = 0; first < filters.size();) {
    LayerAtlases layer{.layer = filters[first].id.layer, .first = first, .count = 0, .files = {}};
    while (first + layer.count < filters.size() && filters[first + layer.count].id.layer == layer.layer)
      ++layer.count;
    for (std::size_t begin = 0; begin < layer.count; begin += kAtlasPictures) {
      layer.files.push_back(fmt::format("{}/{}_{}.jpg", atlas_folder,
                                        layer_folder(run.manifest.network, layer.layer), layer.files.size()));
      tasks.push_back(
          {first + begin, std::min<std::size_t>(kAtlasPictures, layer.count - begin), layer.files.back()});
    }
    first += layer.count;
    survey.layers.push_back(std::move(layer));
  }

  create_folder(page_folder / atlas_folder);
  for_each_parallel(tasks.size(), [&](std::size_t number) {
    const Task& task = tasks[number];
    const int rows = (static_cast<int>(task.count) + kAtlasColumns - 1) / kAtlasColumns;
    Canvas atlas(rows * survey.thumbnail.height, kAtlasColumns * survey.thumbnail.width);
    bool empty = true;
    for (std::size_t i = 0; i < task.count; ++i) {
      RgbImage thumbnail;
      PictureRecord& record = survey.pictures[task.first + i];
      record = survey_picture(run, filters[task.first + i], largest_small, thumbnail);
      const int place = static_cast<int>(i);
      if (record.state != PictureState::there) continue;
      atlas.paste(place / kAtlasColumns * survey.thumbnail.height,
                  place % kAtlasColumns * survey.thumbnail.width, thumbnail);
      empty = false;
    }
    if (!empty) write_file(page_folder / task.file, std::span<const std::uint8_t>(encode_jpeg(atlas.take())));
  });
  return survey;
}

}  // namespace filterscope
