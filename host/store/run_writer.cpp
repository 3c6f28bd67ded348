#include "run_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "../base/atomic_file.h"
#include "../base/error.h"
#include "../base/processors.h"
#include "../output/apng.h"
#include "../output/npy.h"
#include "../output/png.h"
#include "file_names.h"
#include "journal.h"
#include "sheet.h"
#include "stored_run.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;

/// Results that may wait to be written. Small beside what an engine needs, and hundreds of pictures; with
/// frames the largest batch that an engine makes of itself.
constexpr std::size_t kQueueBytes = std::size_t{64} << 20;
constexpr std::size_t kQueueBytesWithFrames = std::size_t{1} << 30;

std::size_t bytes_of(const FilterResult& result) {
  std::size_t bytes =
      result.picture.size() + result.image.size() * sizeof(float) + result.trace.size() * sizeof(TracePoint);
  for (const auto& frame : result.frames) bytes += frame.size();
  return bytes;
}

/// A picture takes less than a millisecond: one thread in four is more than enough beside a CPU's ascent; an
/// animation takes dozens of times as long. A GPU gives thousands of pictures at once, and the last ones are
/// waited for.
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

void remove_file(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw_output_error(path, "cannot remove the file", error.value());
}

/// Names; none where there is no such folder.
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
              fmt::format("{} holds results with other settings ({}); give the same again, or another folder "
                          "with --out, or --force to begin anew in this one",
                          before.folder.string(), fmt::join(texts, "; ")));
}

}  // namespace

class RunWriter::Implementation {
 public:
  Implementation(fs::path folder, Manifest run, std::vector<FilterId> selection, Options options)
      : folder_(created(std::move(folder))),
        options_(options),
        journal_(folder_ / kJournalFile),
        manifest_(std::move(run)) {
    if (std::ranges::adjacent_find(selection, std::ranges::greater_equal{}) != selection.end())
      throw std::invalid_argument("RunWriter: the selection is not ascending");

    std::optional<StoredRun> before;
    if (options_.force)
      remove_file(folder_ / kManifestFile);  // First: the journal is nothing without it.
    else
      before = read_run(folder_, manifest_.network);
    if (before) {
      require_same_settings(*before, manifest_);
      take_over(*before);
    }
    select(selection, before ? &*before : nullptr);
    remove_remains();
    for (auto& [index, layer] : layers_) prepare_layer(index, layer, before ? &*before : nullptr);
    if (options_.keep_images) create_folder(folder_ / kRawFolder);

    // In this order, whatever is interrupted leaves a folder that read_run() understands: what the journal
    // tells is of the manifest beside it.
    if (!before) journal_.clear();
    write_manifest();
    write_traces();
    journal_.clear();
    start_encoders();
  }

  ~Implementation() {
    {
      const std::scoped_lock lock(mutex_);
      queue_.clear();
    }
    join();
  }

  const std::vector<FilterId>& remaining() const { return remaining_; }
  bool traces_lost() const { return traces_lost_; }

  void add(FilterResult result, const EngineDescription& engine) {
    const auto found = std::ranges::lower_bound(remaining_, result.id);
    if (found == remaining_.end() || *found != result.id)
      throw std::invalid_argument("RunWriter: a filter that is not to be rendered");
    const std::size_t bytes = bytes_of(result);
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return fits(bytes); });
    if (closed_) throw std::logic_error("RunWriter: add() after finish()");
    if (error_) std::rethrow_exception(error_);
    if (!added_.insert(result.id).second) throw std::invalid_argument("RunWriter: a filter was added twice");
    queued_bytes_ += bytes;
    queue_.push_back({std::move(result), engine});
    if (encoders_.empty())
      write_next(lock);
    else
      work_.notify_one();
  }

  bool has_room(std::size_t bytes) const {
    const std::scoped_lock lock(mutex_);
    return fits(bytes);
  }

  void finish(double seconds, PhaseSeconds phases) {
    double finishing = 0;
    timed(finishing, [&] {
      join();
      // Nobody else is there any more; what fails must not keep the rest from being written.
      for (auto& [index, layer] : layers_)
        if (!layer.closed) attempt([&] { close_layer(index, layer); });
    });
    phases.encode += encode_seconds_;
    phases.write += write_seconds_;
    phases.finish += finishing;
    // A run that found everything done leaves the manifest as it is.
    if (!remaining_.empty()) {
      manifest_.wall_seconds += seconds + finishing;
      manifest_.phases += phases;
    }
    manifest_.complete = std::ranges::all_of(
        manifest_.filters, [](const FilterRecord& record) { return record.status.has_value(); });
    // The journal last: until both are there, it tells what they lack.
    if (attempt([&] { write_manifest(); }) && attempt([&] { write_traces(); }))
      attempt([&] { journal_.remove(); });
    if (error_) std::rethrow_exception(error_);
  }

  const Manifest& manifest() const { return manifest_; }

  Counts counts() const {
    Counts counts;
    for (std::size_t row = 0; row < manifest_.filters.size(); ++row) {
      if (!selected_[row]) continue;
      const FilterRecord& record = manifest_.filters[row];
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
    std::size_t first = SIZE_MAX;  ///< Row of its first filter in the manifest.
    std::size_t remaining = 0;     ///< Filters not written yet; guarded by records_mutex_.
    std::vector<SheetTile> tiles;  ///< One for each filter; each written by one thread. Those of earlier runs
                                   ///< have no picture until they are needed.
    bool closed = false;           ///< Sheet and raw file are up to date, or failed.
  };
  struct Item {
    FilterResult result;
    EngineDescription engine;
  };

  /// Into the queue; mutex_ is held.
  bool fits(std::size_t bytes) const {
    const std::size_t most = options_.frame_every > 0 ? kQueueBytesWithFrames : kQueueBytes;
    return queue_.empty() || queued_bytes_ + bytes <= most;
  }

  /// The manifest goes on from that of earlier runs.
  void take_over(const StoredRun& before) {
    const std::vector<std::string> commands =
        std::exchange(manifest_.command_lines, before.manifest.command_lines);
    for (const std::string& command : commands) add_command_line(manifest_, command);
    manifest_.started = before.manifest.started;
    manifest_.engines = before.manifest.engines;
    manifest_.wall_seconds = before.manifest.wall_seconds;
    manifest_.phases = before.manifest.phases;
    manifest_.raw = before.manifest.raw;
    images_ = before.images;
    animations_ = before.animations;
    traces_lost_ = before.traces_lost;
  }

  /// The rows of the manifest: what is there, and what is selected.
  void select(const std::vector<FilterId>& selection, const StoredRun* before) {
    std::map<FilterId, std::size_t> stored;  // To the row of `before`.
    if (before != nullptr)
      for (std::size_t row = 0; row < before->manifest.filters.size(); ++row)
        if (before->manifest.filters[row].status) stored[before->manifest.filters[row].id] = row;
    remaining_ = unfinished(selection, before, options_.keep_images, options_.frame_every);
    // What has a picture and lacks its unscaled image or animation is done again: all must come from the same
    // ascent.
    for (const FilterId id : remaining_) stored.erase(id);
    std::vector<FilterId> all = remaining_;
    for (const auto& [id, row] : stored) all.push_back(id);
    std::ranges::sort(all);
    for (const FilterId id : all) {
      const auto row = stored.find(id);
      const bool there = row != stored.end();
      manifest_.filters.push_back(there ? before->manifest.filters[row->second] : FilterRecord{.id = id});
      traces_.push_back(there ? before->traces[row->second] : std::vector<TracePoint>());
      selected_.push_back(std::ranges::binary_search(selection, id));
      Layer& layer = layers_[id.layer];
      layer.first = std::min(layer.first, manifest_.filters.size() - 1);
      layer.remaining += there ? 0 : 1;
      layer.tiles.push_back({.filter = id.filter, .status = manifest_.filters.back().status, .picture = {}});
    }
  }

  /// Of killed runs: temporary files, and unscaled images that were finished but not yet in the journal, or
  /// joined but not yet removed.
  void remove_remains() {
    const Network& network = manifest_.network;
    const fs::path raw = folder_ / kRawFolder;
    for (const fs::path& folder : {folder_, raw, folder_ / kGalleryFolder}) remove_leftovers(folder);
    std::set<std::string> unknown;
    for (int layer = 0; layer < network.layer_count(); ++layer) {
      remove_leftovers(folder_ / layer_folder(network, layer));
      const int filters = network.convolutions[static_cast<std::size_t>(layer)].out_channels;
      for (int filter = 0; filter < filters; ++filter)
        unknown.insert(raw_image_file(network, {layer, filter}));
    }
    for (const auto& [id, place] : images_) unknown.erase(place.file);
    for (const std::string& name : files_in(raw))
      if (unknown.contains(fmt::format("{}/{}", kRawFolder, name))) remove_file(raw / name);
  }

  /// A sheet that is there shows what the manifest says of the layer; one that would not is removed before
  /// the manifest is written.
  void prepare_layer(int index, Layer& layer, const StoredRun* before) {
    const fs::path sheet = folder_ / sheet_file(manifest_.network, index);
    const auto of_layer = [index](const FilterRecord& record) { return record.id.layer == index; };
    const bool as_before =
        before != nullptr && layer.remaining == 0 &&
        std::ranges::count_if(before->manifest.filters, of_layer) == std::ssize(layer.tiles);
    if (!as_before) remove_file(sheet);
    const bool joined = std::ranges::none_of(manifest_.raw, [&](const RawRecord& raw) {
      return raw.layer == index && raw.file != raw_file(manifest_.network, index);
    });
    layer.closed = joined && is_there(sheet);
    if (!layer.closed) create_folder(sheet.parent_path());
  }

  void start_encoders() {
    const unsigned count = encoder_count(options_);
    encoders_.reserve(count);
    // Where no more threads are to be had, fewer will do; without any, add() writes.
    try {
      while (encoders_.size() < count) encoders_.emplace_back([this] { encode(); });
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
  }

  void join() {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
    }
    work_.notify_all();
    for (std::thread& encoder : encoders_) encoder.join();
    encoders_.clear();
  }

  /// Runs `action`; the first exception of the run is kept.
  template <typename Action>
  bool attempt(Action action) {
    try {
      action();
      return true;
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      if (!error_) error_ = std::current_exception();
      return false;
    }
  }

  /// What each thread does.
  void encode() {
    while (true) {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [this] { return closed_ || !queue_.empty(); });
      if (queue_.empty()) return;
      write_next(lock);
    }
  }

  /// What is first in the queue, without the lock of mutex_, which is held before and after.
  void write_next(std::unique_lock<std::mutex>& lock) {
    Item item = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    const std::size_t bytes = bytes_of(item.result);
    attempt([&] { write(item); });
    item = {};
    lock.lock();
    queued_bytes_ -= bytes;
    room_.notify_one();
  }

  std::size_t row_of(FilterId id) const {
    return static_cast<std::size_t>(std::ranges::lower_bound(manifest_.filters, id, {}, &FilterRecord::id) -
                                    manifest_.filters.begin());
  }

  void write(Item& item) {
    FilterResult& result = item.result;
    const int index = result.id.layer;
    Layer& layer = layers_.at(index);
    const Network& network = manifest_.network;
    std::optional<RawRecord> raw;
    if (!result.image.empty()) {
      raw = {.layer = index, .file = raw_image_file(network, result.id), .filters = {result.id.filter}};
      timed(write_seconds_, [&] {
        NpyImageWriter file(folder_ / raw->file, 1, manifest_.extent);
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
                        .file = picture_file(network, result.id)};
    write_animation(result, record);
    write_picture(record.file, result.picture, manifest_.extent);
    Picture tile = timed(encode_seconds_, [&] { return scale_tile(result.picture, manifest_.extent); });

    {
      const std::scoped_lock lock(records_mutex_);
      record.engine = enter(item.engine);
    }
    // Dozens of numbers become text; the others need not wait for that.
    const std::string line = journal_line(record, result.trace, raw, seconds_since_start(), manifest_);
    bool last = false;
    {
      const std::scoped_lock lock(records_mutex_);
      timed(write_seconds_, [&] { journal_.append(line); });
      const std::size_t row = row_of(result.id);
      SheetTile& sheet_tile = layer.tiles[row - layer.first];
      sheet_tile.status = result.status;
      sheet_tile.picture = std::move(tile);
      manifest_.filters[row] = std::move(record);
      traces_[row] = std::move(result.trace);
      if (raw) {
        images_[result.id] = {raw->file, 1, 0};
        manifest_.raw.push_back(std::move(*raw));
      }
      last = --layer.remaining == 0;
    }
    if (last) close_layer(index, layer);
  }

  void write_animation(const FilterResult& result, FilterRecord& record) {
    const fs::path file = folder_ / animation_file(manifest_.network, result.id);
    if (!result.frames.empty()) {
      const auto bytes = timed(encode_seconds_, [&] { return encode_apng(result.frames, manifest_.extent); });
      timed(write_seconds_, [&] { write_file(file, bytes); });
      record.frame_every = result.frame_every;
    } else if (const auto kept = animations_.find(result.id); kept != animations_.end()) {
      record.frame_every = kept->second;
    } else {
      remove_file(file);  // Of a run that --force made forgotten.
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

  /// The engine's number in the manifest, and in the journal its description, where it is not known there as
  /// it is now.
  std::size_t enter(const EngineDescription& engine) {
    if (entered_ && entered_->first == engine) return entered_->second;
    const std::size_t number = add_engine(manifest_, engine);
    std::string line = journal_line(manifest_.engines[number]);
    if (line != engine_line_) {
      journal_.append(line);
      engine_line_ = std::move(line);
    }
    entered_ = {engine, number};
    return number;
  }

  /// Writes a layer's sheet and raw file with the filters that are there, and forgets its pictures.
  void close_layer(int index, Layer& layer) {
    layer.closed = true;
    std::vector<SheetTile> tiles = std::exchange(layer.tiles, {});
    timed(write_seconds_, [&] { attempt([&] { join_images(index, tiles); }); });
    Extent extent{};
    for (SheetTile& tile : tiles) {
      if (!tile.status) continue;
      if (tile.picture.pixels.empty()) {
        const Picture picture =
            read_picture(folder_, picture_file(manifest_.network, {index, tile.filter}), manifest_.extent);
        tile.picture = scale_tile(picture.pixels, picture.extent);
      }
      extent = tile.picture.extent;
    }
    if (extent.positions() == 0) return;
    const Picture sheet =
        timed(encode_seconds_, [&] { return draw_sheet(heading_of(index), tiles, extent); });
    write_picture(sheet_file(manifest_.network, index), sheet.pixels, sheet.extent);
  }

  /// All unscaled images of a layer, wherever they are, into one file. Killed between the file's appearance
  /// and the journal's line, it leaves a file of which the images of earlier runs are not known any more, and
  /// are rendered again; those of this run still have files of their own.
  void join_images(int index, const std::vector<SheetTile>& tiles) {
    const std::string file = raw_file(manifest_.network, index);
    RawRecord joined{.layer = index, .file = file, .filters = {}};
    std::vector<RawPlace> places;
    bool is_joined = true;
    {
      const std::scoped_lock lock(records_mutex_);
      for (const SheetTile& tile : tiles) {
        const auto place = images_.find({index, tile.filter});
        if (!tile.status || place == images_.end()) continue;
        joined.filters.push_back(tile.filter);
        places.push_back(place->second);
        is_joined = is_joined && place->second.file == file;
      }
    }
    if (is_joined) return;
    const int rows = static_cast<int>(places.size());
    NpyImageWriter writer(folder_ / file, rows, manifest_.extent);
    for (const RawPlace& place : places)
      writer.append(read_image(folder_ / place.file, place.rows, place.row, manifest_.extent));
    writer.finish();
    {
      const std::scoped_lock lock(records_mutex_);
      journal_.append(journal_line(joined, manifest_.network));
      std::erase_if(manifest_.raw, [index](const RawRecord& raw) { return raw.layer == index; });
      manifest_.raw.push_back(joined);
    }
    for (const RawPlace& place : places)
      if (place.file != file) remove_file(folder_ / place.file);
  }

  SheetHeading heading_of(int index) const {
    const Convolution& convolution = manifest_.network.convolutions[static_cast<std::size_t>(index)];
    return {.title = fmt::format("{} {}", manifest_.network.name, convolution.name),
            .details = recipe_text(manifest_),
            .synthetic = manifest_.weights.kind == WeightsKind::synthetic};
  }

  void write_manifest() {
    std::ranges::sort(manifest_.raw, {}, [](const RawRecord& raw) { return std::tie(raw.layer, raw.file); });
    write_file(folder_ / kManifestFile, to_json(manifest_));
  }

  void write_traces() const {
    std::string text = fmt::format("{}\n", kTracesHeader);
    for (std::size_t row = 0; row < traces_.size(); ++row) {
      const FilterId id = manifest_.filters[row].id;
      const std::string& layer = manifest_.network.convolutions[static_cast<std::size_t>(id.layer)].name;
      for (const TracePoint& point : traces_[row])
        fmt::format_to(std::back_inserter(text), "{},{},{},{:.9g}\n", layer, id.filter, point.iteration,
                       point.loss);
    }
    write_file(folder_ / kTracesFile, text);
  }

  const fs::path folder_;
  const Options options_;
  std::vector<FilterId> remaining_;
  std::vector<bool> selected_;   ///< Of each row of the manifest.
  std::map<int, Layer> layers_;  ///< Its keys stay as they are.
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  /// Of what waits. Never held while something is written: the engine's thread is not to wait for a disk.
  mutable std::mutex mutex_;
  std::condition_variable work_;  ///< Something is queued, or nothing more will be.
  std::condition_variable room_;  ///< Something left the queue.
  std::deque<Item> queue_;
  std::size_t queued_bytes_ = 0;  ///< With what is being written.
  bool closed_ = false;
  std::exception_ptr error_;  ///< The first.
  std::set<FilterId> added_;

  /// Of what is written.
  std::mutex records_mutex_;
  Journal journal_;
  std::string engine_line_;  ///< The journal's last one of an engine.
  std::optional<std::pair<EngineDescription, std::size_t>> entered_;  ///< The last one, and its number.
  Manifest manifest_;  ///< Its filters, engines and raw files; the rest stays as it is.
  std::vector<std::vector<TracePoint>> traces_;  ///< Of each row of the manifest.
  std::map<FilterId, RawPlace> images_;
  std::map<FilterId, int> animations_;  ///< Of earlier runs; stays as it is.
  bool traces_lost_ = false;

  std::atomic<double> encode_seconds_ = 0;
  std::atomic<double> write_seconds_ = 0;

  std::vector<std::thread> encoders_;
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
