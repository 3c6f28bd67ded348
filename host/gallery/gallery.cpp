#include "gallery.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <future>
#include <optional>
#include <string>
#include <system_error>

#include "../base/atomic_file.h"
#include "../base/error.h"
#include "../output/png.h"
#include "../store/file_names.h"
#include "../store/stored_run.h"
#include "curves.h"
#include "page.h"
#include "pictures.h"
#include "poster.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

void count(GalleryCounts& counts, const StoredRun& run, const PictureSurvey& survey) {
  counts.filters += static_cast<int>(run.manifest.filters.size());
  if (run.traces_lost) counts.without_traces.push_back(run.folder);
  counts.missing_pictures +=
      static_cast<int>(std::ranges::count_if(survey.pictures, [](const PictureRecord& picture) {
        return picture.state == PictureState::missing || picture.state == PictureState::damaged;
      }));
}

/// The relative path from `page` to `run`, with '/' at the end.
std::string path_to(const fs::path& run, const fs::path& page) {
  std::error_code ignored;  // A path that cannot be resolved is used as it is.
  const fs::path path =
      fs::weakly_canonical(run, ignored).lexically_relative(fs::weakly_canonical(page, ignored));
  return (path / "").generic_string();
}

std::string name_of(const fs::path& folder) {
  std::error_code error;
  const fs::path known = fs::weakly_canonical(folder, error);
  return (error ? folder : known).filename().string();
}

/// Includes filters whose pictures are missing, to distinguish them from unfinished filters.
StoredRun run_in(const fs::path& folder) {
  std::optional<StoredRun> run = read_records(folder, vgg16());
  if (!run) throw_no_run(folder);
  return std::move(*run);
}

}  // namespace

GalleryCounts write_gallery(const fs::path& folder) {
  const StoredRun run = run_in(folder);
  const PictureSurvey survey = survey_pictures(run, folder, kGalleryFolder, poster_tile(run));
  // In parallel, since it takes as long as everything after it.
  std::future<void> poster = std::async([&] {
    const RgbImage picture = draw_poster(run, survey);
    write_png(folder / kPosterFile, picture.pixels, picture.extent);
  });
  for (const LayerAtlases& layer : survey.layers) {
    const fs::path file = folder / curves_file(run.manifest.network, layer.layer);
    create_folder(file.parent_path());
    write_file(file, draw_curves(run, layer.first, layer.count));
  }
  const std::array pages{PageRun{.run = run, .survey = survey, .folder = ""}};
  const std::string page = build_page(pages);
  poster.get();  // The page refers to it.
  write_file(folder / kPageFile, page);
  GalleryCounts counts;
  count(counts, run, survey);
  return counts;
}

GalleryCounts write_comparison(const fs::path& first, const fs::path& second, const fs::path& out) {
  const StoredRun a = run_in(first);
  const StoredRun b = run_in(second);
  create_folder(out);
  const PictureSurvey survey_a = survey_pictures(a, out, std::string(kGalleryFolder) + "/a");
  const PictureSurvey survey_b = survey_pictures(b, out, std::string(kGalleryFolder) + "/b");
  const std::array pages{
      PageRun{.run = a, .survey = survey_a, .folder = path_to(first, out), .name = name_of(first)},
      PageRun{.run = b, .survey = survey_b, .folder = path_to(second, out), .name = name_of(second)}};
  write_file(out / kPageFile, build_page(pages));
  GalleryCounts counts;
  count(counts, a, survey_a);
  count(counts, b, survey_b);
  return counts;
}

}  // namespace filterscope
