#include "stored_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "../base/error.h"
#include "../base/input_file.h"
#include "../base/text.h"
#include "../output/apng.h"
#include "../output/npy.h"
#include "../output/png.h"
#include "file_names.h"
#include "json.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOtherFolder = "give another folder";
constexpr std::string_view kOrForce =
    "give another folder, or start over in this one with `filterscope render --force`";

[[noreturn]] void refuse(const fs::path& path, std::string_view reason, std::string_view advice = kOrForce) {
  throw Error(ErrorKind::input, fmt::format("{}: this is not what a run of this program writes: {}; {}",
                                            path.string(), reason, advice));
}

std::string_view take_until(std::string_view& text, char separator) {
  const std::string_view token = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(text.size(), token.size() + 1));
  return token;
}

template <typename Number>
Number parse_whole(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw std::invalid_argument(fmt::format("\"{}\" is not a number", printable(text)));
  return value;
}

std::optional<std::size_t> row_of(const Manifest& manifest, FilterId id) {
  const auto found = std::ranges::lower_bound(manifest.filters, id, {}, &FilterRecord::id);
  if (found == manifest.filters.end() || found->id != id) return std::nullopt;
  return static_cast<std::size_t>(found - manifest.filters.begin());
}

/// Ignores filters that the manifest does not have as finished: a killed run may have left their traces.
void parse_trace(std::string_view line, StoredRun& run) {
  const Network& network = run.manifest.network;
  const std::string_view name = take_until(line, ',');
  const auto layer = network.find(name);
  if (!layer)
    throw std::invalid_argument(fmt::format("{} has no layer \"{}\"", network.name, printable(name)));
  const auto filter = parse_whole<int>(take_until(line, ','));
  const auto iteration = parse_whole<int>(take_until(line, ','));
  const auto loss = parse_whole<float>(line);
  if (const auto row = row_of(run.manifest, {*layer, filter}); row && run.manifest.filters[*row].status)
    run.traces[*row].push_back({iteration, loss});
}

void parse_traces(std::string_view text, StoredRun& run) {
  if (const std::string_view line = take_until(text, '\n'); line != kTracesHeader)
    throw std::invalid_argument(
        fmt::format("line 1: expected {}, found \"{}\"", kTracesHeader, printable(line)));
  for (int number = 2; !text.empty(); ++number) {
    const std::string_view line = take_until(text, '\n');
    try {
      parse_trace(line, run);
    } catch (const std::invalid_argument& problem) {
      throw std::invalid_argument(fmt::format("line {}: expected {}, found \"{}\" ({})", number,
                                              kTracesHeader, printable(line), problem.what()));
    }
  }
}

void replay(const Json& line, StoredRun& run, double& seconds) {
  Manifest& manifest = run.manifest;
  const Network& network = manifest.network;
  if (line.contains("engine")) {
    add_engine(manifest, parse_engine(line.at("engine")));
  } else if (line.contains("filter")) {
    const FilterRecord record = parse_filter(line.at("filter"), network);
    const auto row = row_of(manifest, record.id);
    if (!row || !record.status || record.engine >= manifest.engines.size())
      throw std::invalid_argument("a filter or an engine that is unknown");
    std::vector<TracePoint> trace;
    for (const Json& point : line.at("trace"))
      trace.push_back({point.at(0).get<int>(), parse_number(point.at(1))});
    std::optional<RawRecord> raw;
    if (!line.at("raw").is_null()) raw = parse_raw(line.at("raw"), network);
    seconds = line.at("seconds").get<double>();
    if (raw) manifest.raw.push_back(std::move(*raw));
    manifest.filters[*row] = record;
    run.traces[*row] = std::move(trace);
  } else {
    RawRecord joined = parse_raw(line.at("joined"), network);
    std::erase_if(manifest.raw, [&](const RawRecord& raw) { return raw.layer == joined.layer; });
    manifest.raw.push_back(std::move(joined));
  }
}

/// Stops at the first line that is not whole: what follows cannot be trusted, and will be rendered again.
void replay_journal(std::string_view text, StoredRun& run) {
  double seconds = 0;
  while (text.find('\n') != std::string_view::npos) {
    try {
      replay(Json::parse(take_until(text, '\n')), run, seconds);
    } catch (const Json::exception&) {
      break;
    } catch (const std::invalid_argument&) {
      break;
    }
  }
  run.manifest.wall_seconds += seconds;
}

/// Called before damaged pictures are dropped, since an animation may outlast its picture.
void find_animations(StoredRun& run) {
  for (FilterRecord& record : run.manifest.filters) {
    if (!record.status || record.frame_every == 0) continue;
    if (is_whole_apng(run.folder / animation_file(run.manifest.network, record.id),
                      run.manifest.recipe.picture_extent(),
                      frame_count(record.iterations, record.frame_every))) {
      run.animations[record.id] = record.frame_every;
    } else {
      run.damaged.push_back(animation_file(run.manifest.network, record.id));
      record.frame_every = 0;
    }
  }
}

void drop_damaged_pictures(StoredRun& run) {
  for (std::size_t row = 0; row < run.manifest.filters.size(); ++row) {
    FilterRecord& record = run.manifest.filters[row];
    if (!record.status) continue;
    if (record.file == picture_file(run.manifest.network, record.id) &&
        is_whole_png(run.folder / record.file, run.manifest.recipe.picture_extent()))
      continue;
    run.damaged.push_back(picture_file(run.manifest.network, record.id));
    record = {.id = record.id};
    run.traces[row].clear();
  }
}

/// For the same filter, a later file replaces earlier ones.
void find_images(StoredRun& run) {
  const Network& network = run.manifest.network;
  std::vector<RawRecord> damaged;
  std::erase_if(run.manifest.raw, [&](const RawRecord& raw) {
    const bool known =
        raw.file == raw_file(network, raw.layer) ||
        (raw.filters.size() == 1 && raw.file == raw_image_file(network, {raw.layer, raw.filters.front()}));
    if (known &&
        holds_images(run.folder / raw.file, std::ssize(raw.filters), run.manifest.recipe.last().extent))
      return false;
    damaged.push_back(raw);
    return true;
  });
  for (const RawRecord& raw : run.manifest.raw) {
    const int rows = static_cast<int>(raw.filters.size());
    for (int row = 0; row < rows; ++row)
      run.images[{raw.layer, raw.filters[static_cast<std::size_t>(row)]}] = {raw.file, rows, row};
  }
  for (const RawRecord& raw : damaged)
    if (!std::ranges::all_of(raw.filters, [&](int filter) {
          return run.images.contains({raw.layer, filter});
        }))
      run.damaged.push_back(printable(raw.file));
}

}  // namespace

std::optional<StoredRun> read_records(const fs::path& folder, const Network& network) {
  const fs::path manifest_path = folder / kManifestFile;
  const auto manifest = read_file(manifest_path);
  if (!manifest) return std::nullopt;
  StoredRun run;
  run.folder = folder;
  try {
    run.manifest = parse_manifest(*manifest, network);
  } catch (const ForeignManifest& problem) {
    refuse(manifest_path, problem.what(), kOtherFolder);
  } catch (const std::invalid_argument& problem) {
    refuse(manifest_path, problem.what());
  }
  run.traces.resize(run.manifest.filters.size());

  // Until a filter is finished, traces.csv may be missing, or another run's: the manifest is written first.
  if (std::ranges::any_of(run.manifest.filters,
                          [](const FilterRecord& record) { return record.status.has_value(); })) {
    const fs::path traces_path = folder / kTracesFile;
    const auto traces = read_file(traces_path);
    run.traces_lost = !traces;
    try {
      if (traces) parse_traces(*traces, run);
    } catch (const std::invalid_argument& problem) {
      refuse(traces_path, problem.what(), "move it away to continue with the pictures alone");
    }
  }
  if (const auto journal = read_file(folder / kJournalFile)) replay_journal(*journal, run);
  return run;
}

std::optional<StoredRun> read_run(const fs::path& folder, const Network& network) {
  std::optional<StoredRun> run = read_records(folder, network);
  if (!run) return std::nullopt;
  find_animations(*run);
  drop_damaged_pictures(*run);
  find_images(*run);
  return run;
}

void throw_no_run(const fs::path& folder) {
  std::error_code ignored;
  const fs::file_status status = fs::status(folder, ignored);
  throw Error(ErrorKind::input,
              fmt::format("{}: expected a folder that `filterscope render` wrote, found {}", folder.string(),
                          !fs::exists(status)         ? "nothing of that name"
                          : !fs::is_directory(status) ? "a file"
                                                      : "no manifest.json in it"));
}

std::vector<FilterId> unfinished(const std::vector<FilterId>& selection, const StoredRun* run,
                                 bool keep_images, int frame_every) {
  if (run == nullptr) return selection;
  std::vector<FilterId> filters;
  for (const FilterId id : selection) {
    const auto row = row_of(run->manifest, id);
    const bool there = row && run->manifest.filters[*row].status &&
                       (!keep_images || run->images.contains(id)) &&
                       (frame_every == 0 || run->manifest.filters[*row].frame_every == frame_every);
    if (!there) filters.push_back(id);
  }
  return filters;
}

RgbImage read_picture(const fs::path& folder, const std::string& file, Extent extent) {
  std::optional<RgbImage> picture = read_png(folder / file);
  if (!picture || picture->extent != extent)
    throw Error(ErrorKind::input,
                fmt::format("{}: this is not a picture of {}, as the manifest says; delete it and render "
                            "it again",
                            (folder / file).string(), size_text(extent)));
  return std::move(*picture);
}

FilterResult read_result(const StoredRun& run, std::size_t row) {
  const FilterRecord& record = run.manifest.filters.at(row);
  RgbImage picture = read_picture(run.folder, record.file, run.manifest.recipe.picture_extent());
  FilterResult result{.id = record.id,
                      .status = record.status.value(),
                      .iterations = record.iterations,
                      .first_loss = record.first_loss,
                      .final_loss = record.final_loss,
                      .gradient_norm = record.last_gradient_norm,
                      .rescued_iterations = record.rescued_iterations,
                      .alive_from = record.alive_from,
                      .range = record.range,
                      .trace = run.traces[row],
                      .picture = std::move(picture.pixels),
                      .image = {},
                      .frame_every = record.frame_every,
                      .frames = {}};
  if (const auto place = run.images.find(record.id); place != run.images.end())
    result.image = read_image(run.folder / place->second.file, place->second.rows, place->second.row,
                              run.manifest.recipe.last().extent);
  if (record.frame_every > 0) {
    const fs::path file = run.folder / animation_file(run.manifest.network, record.id);
    result.frames = read_apng(file, run.manifest.recipe.picture_extent(),
                              frame_count(record.iterations, record.frame_every));
    if (result.frames.empty())
      throw Error(
          ErrorKind::input,
          fmt::format("{}: this is not an animation of {} of {}, as the manifest says; delete "
                      "it and render it again with --animate {}",
                      file.string(), counted(frame_count(record.iterations, record.frame_every), "frame"),
                      size_text(run.manifest.recipe.picture_extent()), record.frame_every));
  }
  return result;
}

std::string journal_line(const EngineDescription& engine) {
  return on_one_line({{"engine", to_json(engine)}});
}

std::string journal_line(const FilterRecord& record, const std::vector<TracePoint>& trace,
                         const std::optional<RawRecord>& raw, double seconds_since_start,
                         const Manifest& manifest) {
  Json points = Json::array();
  for (const TracePoint& point : trace) points.push_back(Json::array({point.iteration, number(point.loss)}));
  return on_one_line({{"filter", to_json(record, manifest)},
                      {"trace", std::move(points)},
                      {"raw", raw ? to_json(*raw, manifest.network) : Json(nullptr)},
                      {"seconds", seconds(seconds_since_start)}});
}

std::string journal_line(const RawRecord& joined, const Network& network) {
  return on_one_line({{"joined", to_json(joined, network)}});
}

}  // namespace filterscope
