#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "host/gallery/gallery.h"
#include "host/store/run_writer.h"
#include "host/store/stored_run.h"
#include "tests/output/files.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {

using nlohmann::json;

inline constexpr Extent kExtent{16, 24};  ///< Not square, so that height and width cannot be confused.
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Rgb = std::array<std::uint8_t, 3>;

inline RgbImage uniform(Extent extent, Rgb colour) {
  RgbImage picture{extent, {}};
  for (std::int64_t i = 0; i < extent.positions(); ++i)
    picture.pixels.insert(picture.pixels.end(), colour.begin(), colour.end());
  return picture;
}

/// A colour that only this filter has.
inline Rgb colour_of(FilterId id) {
  return {static_cast<std::uint8_t>(40 + id.filter % 16 * 12),
          static_cast<std::uint8_t>(40 + id.filter / 16 * 12), static_cast<std::uint8_t>(40 + id.layer * 12)};
}

class GalleryFixture : public testing::Test {
 protected:
  GalleryFixture() {
    weights_.name = "synthetic:0";
    options_.seed = 18'446'744'073'709'551'615u;
    recipe_.stages.front().extent = kExtent;
    recipe_.stages.front().iterations = 30;
  }

  FilterResult result_of(FilterId id) const {
    FilterResult result;
    result.id = id;
    result.status = status_.contains(id) ? status_.at(id) : FilterStatus::ok;
    result.iterations = result.status == FilterStatus::dead ? 0 : 30;
    result.first_loss = result.status == FilterStatus::dead ? 0.f : static_cast<float>(id.filter) + 0.5f;
    result.final_loss = result.status == FilterStatus::nonfinite ? kNaN : 3 * result.first_loss;
    result.gradient_norm = 0.25f;
    if (result.status == FilterStatus::rescued) {
      result.rescued_iterations = 12;
      result.alive_from = 14;
    }
    if (result.iterations > 0) result.trace = {{10, 1.5f * result.first_loss}, {20, 2 * result.first_loss}};
    result.picture = uniform(recipe_.picture_extent(), colour_of(id)).pixels;
    return result;
  }

  /// Writes a run that finished `selection` without `missing`.
  void render(const std::vector<FilterId>& selection, const std::set<FilterId>& missing = {}) const {
    Manifest run = describe_run(vgg16(), weights_, recipe_, options_, engine_);
    run.command_lines = {command_line_};
    run.init = init_;
    RunWriter writer(out_, std::move(run), selection, {.force = true});
    for (const FilterId id : selection)
      if (!missing.contains(id)) writer.add(result_of(id), engine_);
    writer.finish(1);
  }

  StoredRun stored() const { return read_records(out_, vgg16()).value(); }

  /// The data of the page in `folder`.
  static json page_data(const std::filesystem::path& folder) {
    const std::string page = read_text(folder / "index.html");
    const std::string begin = "<script id=\"data\" type=\"application/json\">";
    const std::size_t from = page.find(begin) + begin.size();
    return json::parse(page.substr(from, page.find("</script>", from) - from));
  }

  const TemporaryFolder folder_;
  const std::filesystem::path out_ = folder_ / "a run, 100 % #1";
  std::string command_line_ = "filterscope render";
  RenderOptions options_;
  std::optional<InitRecord> init_;
  EngineDescription engine_{.device = "cpu", .device_name = "test", .libraries = {}, .plans = {}};
  Weights weights_;
  Recipe recipe_ = find_recipe("seed");
  std::map<FilterId, FilterStatus> status_;
};

}  // namespace filterscope
