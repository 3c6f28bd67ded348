#include "gallery.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "../error.h"
#include "../output/atomic_file.h"
#include "../output/file_names.h"
#include "curves.h"
#include "page.h"
#include "pictures.h"
#include "poster.h"
#include "run_folder.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPageName = "index.html";

void count(GalleryCounts& counts, const RunFolder& run, const PictureSurvey& survey) {
  counts.filters += static_cast<int>(run.filters.size());
  counts.missing_pictures +=
      static_cast<int>(std::ranges::count_if(survey.pictures, [](const PictureRecord& picture) {
        return picture.state == PictureState::missing || picture.state == PictureState::damaged;
      }));
}

/// From `page` to `run`, with '/' at the end.
std::string way_to(const fs::path& run, const fs::path& page) {
  const fs::path way = fs::weakly_canonical(run).lexically_relative(fs::weakly_canonical(page));
  return (way / "").generic_string();
}

}  // namespace

GalleryCounts write_gallery(const fs::path& folder) {
  const RunFolder run = read_run_folder(folder);
  const PictureSurvey survey = survey_pictures(run, folder, kGalleryFolder, poster_tile(run));
  for (const LayerAtlases& layer : survey.layers) {
    const std::string& name = run.network.convolutions[static_cast<std::size_t>(layer.layer)].name;
    create_folder(folder / name);
    write_file(folder / name / "curves.svg",
               draw_curves(run, std::span(run.filters).subspan(layer.first, layer.count)));
  }
  const Picture poster = draw_poster(run, survey);
  write_png(folder / "poster.png", poster.pixels, poster.extent);
  const std::array pages{PageRun{.run = run, .survey = survey, .folder = ""}};
  write_file(folder / kPageName, build_page(pages));
  GalleryCounts counts;
  count(counts, run, survey);
  return counts;
}

GalleryCounts write_comparison(const fs::path& first, const fs::path& second, const fs::path& out) {
  const RunFolder a = read_run_folder(first);
  const RunFolder b = read_run_folder(second);
  if (a.network.name != b.network.name) {
    throw Error(ErrorKind::input,
                fmt::format("{} and {}: expected runs of one network, found {} and {}", first.string(),
                            second.string(), a.network.name, b.network.name));
  }
  create_folder(out);
  const PictureSurvey survey_a = survey_pictures(a, out, "gallery/a");
  const PictureSurvey survey_b = survey_pictures(b, out, "gallery/b");
  const std::array pages{PageRun{.run = a, .survey = survey_a, .folder = way_to(first, out)},
                         PageRun{.run = b, .survey = survey_b, .folder = way_to(second, out)}};
  write_file(out / kPageName, build_page(pages));
  GalleryCounts counts;
  count(counts, a, survey_a);
  count(counts, b, survey_b);
  return counts;
}

}  // namespace filterscope
