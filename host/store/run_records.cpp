#include "run_records.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "../base/atomic_file.h"
#include "../base/error.h"
#include "file_names.h"
#include "settings.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

/// The names of the files in a folder; none if there is no such folder.
std::vector<std::string> files_in(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  return names;
}

void require_same_settings(const StoredRun& before, const Manifest& now) {
  const std::vector<SettingDifference> differences = differing_settings(before.manifest, now);
  if (differences.empty()) return;
  std::vector<std::string> texts;
  for (const SettingDifference& difference : differences)
    texts.push_back(fmt::format("{}: {} then, {} now", difference.name, difference.first, difference.second));
  throw Error(ErrorKind::usage,
              fmt::format("{} holds results with other settings ({}); repeat the earlier settings, give "
                          "another folder with --out, or --force to start over in this one",
                          before.folder.string(), fmt::join(texts, "; ")));
}

/// Continues from the manifest of earlier runs.
void take_over(RunRecords& records, const StoredRun& before) {
  Manifest& manifest = records.manifest;
  const std::vector<std::string> commands =
      std::exchange(manifest.command_lines, before.manifest.command_lines);
  for (const std::string& command : commands) add_command_line(manifest, command);
  manifest.started = before.manifest.started;
  manifest.engines = before.manifest.engines;
  manifest.wall_seconds = before.manifest.wall_seconds;
  manifest.phases = before.manifest.phases;
  manifest.raw = before.manifest.raw;
  records.images = before.images;
  records.animations = before.animations;
  records.traces_lost = before.traces_lost;
}

/// Makes the rows of the manifest: what is finished, and what is selected.
void select(RunRecords& records, const std::vector<FilterId>& selection, const StoredRun* before,
            bool keep_images, int frame_every) {
  std::map<FilterId, std::size_t> stored;  // Rows of `before`.
  if (before != nullptr)
    for (std::size_t row = 0; row < before->manifest.filters.size(); ++row)
      if (before->manifest.filters[row].status) stored[before->manifest.filters[row].id] = row;
  records.remaining = unfinished(selection, before, keep_images, frame_every);
  // A filter with a picture that lacks its unscaled image or animation is rendered again: all must come from
  // the same ascent.
  for (const FilterId id : records.remaining) stored.erase(id);
  std::vector<FilterId> all = records.remaining;
  for (const auto& [id, row] : stored) all.push_back(id);
  std::ranges::sort(all);
  for (const FilterId id : all) {
    const auto row = stored.find(id);
    const bool there = row != stored.end();
    records.manifest.filters.push_back(there ? before->manifest.filters[row->second]
                                             : FilterRecord{.id = id});
    records.traces.push_back(there ? before->traces[row->second] : std::vector<TracePoint>());
    records.selected.push_back(std::ranges::binary_search(selection, id));
  }
}

}  // namespace

std::size_t RunRecords::row_of(FilterId id) const {
  return static_cast<std::size_t>(std::ranges::lower_bound(manifest.filters, id, {}, &FilterRecord::id) -
                                  manifest.filters.begin());
}

RunRecords begin_records(Manifest run, const std::vector<FilterId>& selection, const StoredRun* before,
                         bool keep_images, int frame_every) {
  RunRecords records;
  records.manifest = std::move(run);
  if (before != nullptr) {
    require_same_settings(*before, records.manifest);
    take_over(records, *before);
  }
  select(records, selection, before, keep_images, frame_every);
  return records;
}

std::string traces_text(const RunRecords& records) {
  const Manifest& manifest = records.manifest;
  std::string text = fmt::format("{}\n", kTracesHeader);
  for (std::size_t row = 0; row < records.traces.size(); ++row) {
    const FilterId id = manifest.filters[row].id;
    const std::string& layer = manifest.network.convolutions[static_cast<std::size_t>(id.layer)].name;
    for (const TracePoint& point : records.traces[row])
      fmt::format_to(std::back_inserter(text), "{},{},{},{:.9g}\n", layer, id.filter, point.iteration,
                     point.loss);
  }
  return text;
}

void remove_remains(const fs::path& folder, const RunRecords& records) {
  const Network& network = records.manifest.network;
  const fs::path raw = folder / kRawFolder;
  for (const fs::path& some : {folder, raw, folder / kGalleryFolder}) remove_leftovers(some);
  std::set<std::string> unknown;
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    remove_leftovers(folder / layer_folder(network, layer));
    const int filters = network.convolutions[static_cast<std::size_t>(layer)].out_channels;
    for (int filter = 0; filter < filters; ++filter) unknown.insert(raw_image_file(network, {layer, filter}));
  }
  for (const auto& [id, place] : records.images) unknown.erase(place.file);
  for (const std::string& name : files_in(raw))
    if (unknown.contains(fmt::format("{}/{}", kRawFolder, name))) remove_file(raw / name);
}

}  // namespace filterscope
