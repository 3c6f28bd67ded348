#include "run_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include "../base/atomic_file.h"
#include "../base/processors.h"
#include "../output/apng.h"
#include "../output/npy.h"
#include "../output/png.h"
#include "file_names.h"
#include "journal.h"
#include "result_queue.h"
#include "run_records.h"
#include "sheet.h"
#include "stored_run.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

/// Memory for results that wait to be written. Small compared with what an engine needs, yet hundreds of
/// pictures; with frames, the largest batch that an engine makes by default.
constexpr std::size_t kQueueBytes = std::size_t{64} << 20;
constexpr std::size_t kQueueBytesWithFrames = std::size_t{1} << 30;

/// A picture takes less than a millisecond, so one thread in four is more than enough next to a CPU's ascent;
/// an animation takes dozens of times as long. A GPU delivers thousands of pictures at once, and the run
/// waits for the last ones.
unsigned encoder_count(const RunWriter::Options& options) {
  constexpr unsigned kMost = 32;
  const auto processors = static_cast<unsigned>(available_processors());
  if (options.processors_free) return std::clamp(processors, 3u, kMost + 2) - 2;
  return std::clamp(processors / (options.frame_every > 0 ? 2 : 4), 1u, options.frame_every > 0 ? kMost : 8u);
}

fs::path created(fs::path folder) {
  create_folder(folder);
  return folder;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

class RunWriter::Implementation {
 public:
  Implementation(fs::path folder, Manifest run, std::vector<FilterId> selection, Options options)
      : folder_(created(std::move(folder))),
        options_(options),
        journal_(folder_ / kJournalFile),
        queue_(options.frame_every > 0 ? kQueueBytesWithFrames : kQueueBytes,
               [this](FilterResult& result, const EngineDescription& engine) { write(result, engine); }) {
    if (std::ranges::adjacent_find(selection, std::ranges::greater_equal{}) != selection.end())
      throw std::invalid_argument("RunWriter: the selection is not ascending");

    std::optional<StoredRun> before;
    if (options_.force)
      remove_file(folder_ / kManifestFile);  // First: without it, the journal means nothing.
    else
      before = read_run(folder_, run.network);
    const StoredRun* const stored = before ? &*before : nullptr;
    records_ = begin_records(std::move(run), selection, stored, options_.keep_images, options_.frame_every);
    remove_remains(folder_, records_);
    make_layers(stored);
    if (options_.keep_images) create_folder(folder_ / kRawFolder);

    // In this order, an interruption at any point leaves a folder that read_run() understands: the journal
    // belongs to the manifest next to it.
    if (!before) journal_.clear();
    write_manifest();
    write_traces();
    journal_.clear();
    queue_.start(encoder_count(options_));
  }

  const std::vector<FilterId>& remaining() const { return records_.remaining; }
  bool traces_lost() const { return records_.traces_lost; }

  void add(FilterResult result, const EngineDescription& engine) {
    const auto found = std::ranges::lower_bound(records_.remaining, result.id);
    if (found == records_.remaining.end() || *found != result.id)
      throw std::invalid_argument("RunWriter: a filter that is not to be rendered");
    queue_.add(std::move(result), engine);
  }

  bool has_room(std::size_t bytes) const { return queue_.has_room(bytes); }

  void finish(double seconds, PhaseSeconds phases) {
    Manifest& manifest = records_.manifest;
    double finishing = 0;
    timed(finishing, [&] {
      queue_.finish();
      // The threads have ended. After an error, the rest is still written.
      for (auto& [index, layer] : layers_)
        if (!layer.closed) queue_.attempt([&] { close_layer(index, layer); });
    });
    phases.encode += encode_seconds_;
    phases.write += write_seconds_;
    phases.finish += finishing;
    // A run that found everything done leaves the manifest as it is.
    if (!records_.remaining.empty()) {
      manifest.wall_seconds += seconds + finishing;
      manifest.phases += phases;
    }
    manifest.complete = std::ranges::all_of(
        manifest.filters, [](const FilterRecord& record) { return record.status.has_value(); });
    // The journal last: it has what the other two lack until both are written.
    if (queue_.attempt([&] { write_manifest(); }) && queue_.attempt([&] { write_traces(); }))
      queue_.attempt([&] { journal_.remove(); });
    queue_.rethrow();
  }

  const Manifest& manifest() const { return records_.manifest; }

  Counts counts() const {
    Counts counts;
    for (std::size_t row = 0; row < records_.manifest.filters.size(); ++row) {
      if (!records_.selected[row]) continue;
      const FilterRecord& record = records_.manifest.filters[row];
      if (!record.status)
        ++counts.missing;
      else if (*record.status == FilterStatus::dead)
        counts.dead.push_back(record.id);
      else if (*record.status == FilterStatus::nonfinite)
        counts.nonfinite.push_back(record.id);
      else if (*record.status == FilterStatus::rescued)
        ++counts.rescued;
      else
        ++counts.ok;
    }
    return counts;
  }

 private:
  /// What is kept of a layer until its last filter is written.
  struct Layer {
    std::size_t first = 0;         ///< Row of its first filter in the manifest.
    std::size_t remaining = 0;     ///< Filters not written yet; guarded by records_mutex_.
    std::vector<SheetTile> tiles;  ///< One per filter, each written by one thread. Those of earlier runs get
                                   ///< their pictures when they are needed.
    bool closed = false;           ///< Sheet and raw file are up to date, or failed.
  };

  void make_layers(const StoredRun* before) {
    const std::vector<FilterRecord>& filters = records_.manifest.filters;
    for (std::size_t row = 0; row < filters.size(); ++row) {
      const auto [entry, is_new] = layers_.try_emplace(filters[row].id.layer);
      Layer& layer = entry->second;
      if (is_new) layer.first = row;
      layer.remaining += filters[row].status ? 0 : 1;
      layer.tiles.push_back({.filter = filters[row].id.filter, .status = filters[row].status, .picture = {}});
    }
    for (auto& [index, layer] : layers_) prepare_layer(index, layer, before);
  }

  /// A sheet in the folder always shows what the manifest says of the layer; an outdated one is removed
  /// before the manifest is written.
  void prepare_layer(int index, Layer& layer, const StoredRun* before) {
    const fs::path sheet = folder_ / sheet_file(records_.manifest.network, index);
    const auto of_layer = [index](const FilterRecord& record) { return record.id.layer == index; };
    const bool as_before =
        before != nullptr && layer.remaining == 0 &&
        std::ranges::count_if(before->manifest.filters, of_layer) == std::ssize(layer.tiles);
    if (!as_before) remove_file(sheet);
    const bool joined = std::ranges::none_of(records_.manifest.raw, [&](const RawRecord& raw) {
      return raw.layer == index && raw.file != raw_file(records_.manifest.network, index);
    });
    layer.closed = joined && is_there(sheet);
    if (!layer.closed) create_folder(sheet.parent_path());
  }

  void write(FilterResult& result, const EngineDescription& engine) {
    const int index = result.id.layer;
    Layer& layer = layers_.at(index);
    const Network& network = records_.manifest.network;
    std::optional<RawRecord> raw;
    if (!result.image.empty()) {
      raw = {.layer = index, .file = raw_image_file(network, result.id), .filters = {result.id.filter}};
      timed(write_seconds_, [&] {
        NpyImageWriter file(folder_ / raw->file, 1, records_.manifest.recipe.last().extent);
        file.append(result.image);
        file.finish();
      });
    }
    FilterRecord record{.id = result.id,
                        .status = result.status,
                        .iterations = result.iterations,
                        .first_loss = result.first_loss,
                        .final_loss = result.final_loss,
                        .last_gradient_norm = result.gradient_norm,
                        .rescued_iterations = result.rescued_iterations,
                        .alive_from = result.alive_from,
                        .range = result.range,
                        .file = picture_file(network, result.id)};
    write_animation(result, record);
    write_picture(record.file, result.picture, records_.manifest.recipe.picture_extent());
    RgbImage tile = timed(encode_seconds_, [&] {
      return scale_tile(result.picture, records_.manifest.recipe.picture_extent());
    });

    {
      const std::scoped_lock lock(records_mutex_);
      record.engine = enter(engine);
    }
    // Formatting takes time, so it is done without the lock.
    const std::string line =
        journal_line(record, result.trace, raw, seconds_since_start(), records_.manifest);
    bool last = false;
    {
      const std::scoped_lock lock(records_mutex_);
      timed(write_seconds_, [&] { journal_.append(line); });
      const std::size_t row = records_.row_of(result.id);
      SheetTile& sheet_tile = layer.tiles[row - layer.first];
      sheet_tile.status = result.status;
      sheet_tile.picture = std::move(tile);
      records_.manifest.filters[row] = std::move(record);
      records_.traces[row] = std::move(result.trace);
      if (raw) {
        records_.images[result.id] = {raw->file, 1, 0};
        records_.manifest.raw.push_back(std::move(*raw));
      }
      last = --layer.remaining == 0;
    }
    if (last) close_layer(index, layer);
  }

  void write_animation(const FilterResult& result, FilterRecord& record) {
    const fs::path file = folder_ / animation_file(records_.manifest.network, result.id);
    if (!result.frames.empty()) {
      const auto bytes = timed(encode_seconds_, [&] {
        return encode_apng(result.frames, records_.manifest.recipe.picture_extent());
      });
      timed(write_seconds_, [&] { write_file(file, bytes); });
      record.frame_every = result.frame_every;
    } else if (const auto kept = records_.animations.find(result.id); kept != records_.animations.end()) {
      record.frame_every = kept->second;
    } else {
      remove_file(file);  // Belongs to results that --force discarded.
    }
  }

  /// `file` is relative to the folder.
  void write_picture(const std::string& file, std::span<const std::uint8_t> pixels, Extent extent) {
    const auto bytes = timed(encode_seconds_, [&] { return encode_png(pixels, extent); });
    timed(write_seconds_, [&] { write_file(folder_ / file, bytes); });
  }

  double seconds_since_start() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  /// Returns the engine's number in the manifest. Adds its description to the journal unless the last one
  /// there is the same.
  std::size_t enter(const EngineDescription& engine) {
    if (entered_ && entered_->first == engine) return entered_->second;
    const std::size_t number = add_engine(records_.manifest, engine);
    std::string line = journal_line(records_.manifest.engines[number]);
    if (line != engine_line_) {
      journal_.append(line);
      engine_line_ = std::move(line);
    }
    entered_ = {engine, number};
    return number;
  }

  /// Writes a layer's sheet and raw file with the filters that are finished, and frees its pictures.
  void close_layer(int index, Layer& layer) {
    layer.closed = true;
    std::vector<SheetTile> tiles = std::exchange(layer.tiles, {});
    timed(write_seconds_, [&] { queue_.attempt([&] { join_images(index, tiles); }); });
    Extent extent{};
    for (SheetTile& tile : tiles) {
      if (!tile.status) continue;
      if (tile.picture.pixels.empty()) {
        const RgbImage picture =
            read_picture(folder_, picture_file(records_.manifest.network, {index, tile.filter}),
                         records_.manifest.recipe.picture_extent());
        tile.picture = scale_tile(picture.pixels, picture.extent);
      }
      extent = tile.picture.extent;
    }
    if (extent.positions() == 0) return;
    const RgbImage sheet =
        timed(encode_seconds_, [&] { return draw_sheet(heading_of(index), tiles, extent); });
    write_picture(sheet_file(records_.manifest.network, index), sheet.pixels, sheet.extent);
  }

  /// Joins all unscaled images of a layer, wherever they are, in one file. If the process is killed after the
  /// file is written and before the journal's line is, the file's images from earlier runs are no longer
  /// known and will be rendered again; those of this run still have their own files.
  void join_images(int index, const std::vector<SheetTile>& tiles) {
    const std::string file = raw_file(records_.manifest.network, index);
    RawRecord joined{.layer = index, .file = file, .filters = {}};
    std::vector<RawPlace> places;
    bool is_joined = true;
    {
      const std::scoped_lock lock(records_mutex_);
      for (const SheetTile& tile : tiles) {
        const auto place = records_.images.find({index, tile.filter});
        if (!tile.status || place == records_.images.end()) continue;
        joined.filters.push_back(tile.filter);
        places.push_back(place->second);
        is_joined = is_joined && place->second.file == file;
      }
    }
    if (is_joined) return;
    const int rows = static_cast<int>(places.size());
    NpyImageWriter writer(folder_ / file, rows, records_.manifest.recipe.last().extent);
    for (const RawPlace& place : places)
      writer.append(
          read_image(folder_ / place.file, place.rows, place.row, records_.manifest.recipe.last().extent));
    writer.finish();
    {
      const std::scoped_lock lock(records_mutex_);
      journal_.append(journal_line(joined, records_.manifest.network));
      std::erase_if(records_.manifest.raw, [index](const RawRecord& raw) { return raw.layer == index; });
      records_.manifest.raw.push_back(joined);
    }
    for (const RawPlace& place : places)
      if (place.file != file) remove_file(folder_ / place.file);
  }

  SheetHeading heading_of(int index) const {
    const Convolution& convolution = records_.manifest.network.convolutions[static_cast<std::size_t>(index)];
    return {.title = fmt::format("{} {}", records_.manifest.network.name, convolution.name),
            .details = recipe_text(records_.manifest),
            .synthetic = records_.manifest.weights.kind == WeightsKind::synthetic};
  }

  void write_manifest() {
    Manifest& manifest = records_.manifest;
    std::ranges::sort(manifest.raw, {}, [](const RawRecord& raw) { return std::tie(raw.layer, raw.file); });
    write_file(folder_ / kManifestFile, to_json(manifest));
  }

  void write_traces() const { write_file(folder_ / kTracesFile, traces_text(records_)); }

  const fs::path folder_;
  const Options options_;
  std::map<int, Layer> layers_;  ///< Its keys do not change.
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  /// Guards what changes while results are written: the journal, and of the records the manifest's filters,
  /// engines and raw files, the traces and the images.
  std::mutex records_mutex_;
  Journal journal_;
  RunRecords records_;
  std::string engine_line_;  ///< The last line of an engine in the journal.
  std::optional<std::pair<EngineDescription, std::size_t>> entered_;  ///< The last engine, and its number.

  std::atomic<double> encode_seconds_ = 0;
  std::atomic<double> write_seconds_ = 0;

  ResultQueue queue_;  ///< Last: its threads use the members above.
};

RunWriter::RunWriter(fs::path folder, Manifest run, std::vector<FilterId> selection, Options options)
    : implementation_(std::make_unique<Implementation>(std::move(folder), std::move(run),
                                                       std::move(selection), options)) {}

RunWriter::~RunWriter() = default;

const std::vector<FilterId>& RunWriter::remaining() const {
  return implementation_->remaining();
}

bool RunWriter::traces_lost() const {
  return implementation_->traces_lost();
}

void RunWriter::add(FilterResult result, const EngineDescription& engine) {
  implementation_->add(std::move(result), engine);
}

bool RunWriter::has_room(std::size_t bytes) const {
  return implementation_->has_room(bytes);
}

void RunWriter::finish(double seconds, const PhaseSeconds& phases) {
  implementation_->finish(seconds, phases);
}

const Manifest& RunWriter::manifest() const {
  return implementation_->manifest();
}

RunWriter::Counts RunWriter::counts() const {
  return implementation_->counts();
}

}  // namespace filterscope
