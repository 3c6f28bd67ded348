#include "run_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "atomic_file.h"
#include "manifest.h"
#include "npy.h"
#include "png.h"
#include "sheet.h"

namespace filterscope {
namespace {

/// Results that may wait to be written. Small beside what an engine needs, and hundreds of pictures.
constexpr std::size_t kQueueBytes = std::size_t{64} << 20;

std::size_t bytes_of(const FilterResult& result) {
  return result.picture.size() + result.image.size() * sizeof(float) +
         result.trace.size() * sizeof(TracePoint);
}

/// A picture takes a few milliseconds: one thread is enough beside a CPU's ascent, and a few keep up with a
/// GPU.
unsigned encoder_count() {
  return std::clamp(std::thread::hardware_concurrency() / 4, 1u, 8u);
}

/// A name from the network, made safe as a part of a path.
std::string file_name(std::string_view name) {
  std::string safe(name);
  std::ranges::replace(safe, '/', '_');
  return safe;
}

}  // namespace

class RunWriter::Implementation {
 public:
  Implementation(std::filesystem::path folder, const Network& network, const Weights& weights,
                 const Recipe& recipe, const RenderOptions& options, std::vector<FilterId> selection,
                 RunContext context)
      : folder_(std::move(folder)), keep_images_(options.keep_images), selection_(std::move(selection)) {
    manifest_.command_line = std::move(context.command_line);
    manifest_.started = context.started;
    manifest_.network = network;
    manifest_.weights = {.name = weights.name,
                         .path = weights.path.string(),
                         .kind = weights.kind,
                         .sha256 = weights.sha256,
                         .natural_input = weights.natural_input};
    manifest_.recipe = recipe;
    manifest_.extent = options.extent;
    manifest_.seed = options.seed;
    manifest_.trace_every = options.trace_every > 0 ? options.trace_every : recipe.trace_every();
    manifest_.init_file = std::move(context.init_file);
    manifest_.reproducible = options.reproducible;

    if (std::ranges::adjacent_find(selection_, std::ranges::greater_equal{}) != selection_.end())
      throw std::invalid_argument("RunWriter: the selection is not ascending");
    for (const FilterId id : selection_) {
      manifest_.filters.emplace_back().id = id;
      Layer& layer = layers_[id.layer];
      layer.first = std::min(layer.first, manifest_.filters.size() - 1);
      layer.tiles.emplace_back().filter = id.filter;
    }
    traces_.resize(selection_.size());
    added_.resize(selection_.size());

    create_folder(folder_);
    write_manifest();
    write_traces();
    for (auto& [index, layer] : layers_) {
      const std::string& name = network.convolutions.at(static_cast<std::size_t>(index)).name;
      layer.name = file_name(name);
      layer.remaining = layer.tiles.size();
      create_folder(folder_ / layer.name);
    }
    if (keep_images_) create_folder(folder_ / "raw");
    start_encoders();
  }

  ~Implementation() {
    {
      const std::scoped_lock lock(mutex_);
      queue_.clear();
    }
    join();
  }

  void add(FilterResult result) {
    const std::size_t row = row_of(result.id);
    const std::size_t bytes = bytes_of(result);
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return queue_.empty() || queued_bytes_ + bytes <= kQueueBytes; });
    if (closed_) throw std::logic_error("RunWriter: add() after finish()");
    if (error_) std::rethrow_exception(error_);
    if (added_[row]) throw std::invalid_argument("RunWriter: a filter was added twice");
    added_[row] = true;
    queued_bytes_ += bytes;
    queue_.push_back({row, std::move(result)});
    work_.notify_one();
  }

  void finish(const RunSummary& summary) {
    join();
    // Nobody else is there any more; what fails must not keep the rest from being written.
    for (auto& entry : layers_)
      if (!entry.second.closed) attempt([&] { close_layer(entry.first, entry.second); });
    manifest_.engine = summary.engine;
    manifest_.wall_seconds = summary.wall_seconds;
    manifest_.complete =
        !summary.interrupted && std::ranges::all_of(manifest_.filters, [](const FilterRecord& record) {
          return record.status.has_value();
        });
    std::ranges::sort(manifest_.raw, {}, &RawRecord::layer);
    attempt([&] { write_traces(); });
    attempt([&] { write_manifest(); });
    if (error_) std::rethrow_exception(error_);
  }

  Counts counts() const {
    Counts counts;
    for (const FilterRecord& record : manifest_.filters) {
      if (!record.status)
        ++counts.missing;
      else if (*record.status == FilterStatus::dead)
        counts.dead.push_back(record.id);
      else if (*record.status == FilterStatus::nonfinite)
        counts.nonfinite.push_back(record.id);
      else
        ++counts.ok;
    }
    return counts;
  }

 private:
  /// What is kept of a layer until its last filter is written.
  struct Layer {
    std::string name;
    std::size_t first = SIZE_MAX;       ///< Row of its first filter in the manifest.
    std::size_t remaining = 0;          ///< Filters not written yet; guarded by mutex_.
    std::vector<SheetTile> tiles;       ///< One for each selected filter; each written by one thread.
    Extent tile{};                      ///< Guarded by mutex_.
    std::optional<NpyImageWriter> raw;  ///< Created with the first image; guarded by mutex_.
    bool closed = false;                ///< Sheet and raw file are written, or failed.
  };
  struct Item {
    std::size_t row = 0;  ///< In the manifest.
    FilterResult result;
  };

  /// In the manifest, the selection, and the traces.
  std::size_t row_of(FilterId id) const {
    const auto found = std::ranges::lower_bound(selection_, id);
    if (found == selection_.end() || *found != id)
      throw std::invalid_argument("RunWriter: a filter that was not selected");
    return static_cast<std::size_t>(found - selection_.begin());
  }

  void start_encoders() {
    try {
      for (unsigned i = 0; i < encoder_count(); ++i) encoders_.emplace_back([this] { encode(); });
    } catch (const std::system_error&) {  // No more threads to be had; fewer will do.
      if (encoders_.empty()) throw;
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
      Item item = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      const std::size_t bytes = bytes_of(item.result);
      attempt([&] { write(item); });
      item = {};
      lock.lock();
      queued_bytes_ -= bytes;
      lock.unlock();
      room_.notify_one();
    }
  }

  void write(Item& item) {
    FilterResult& result = item.result;
    const int index = result.id.layer;
    Layer& layer = layers_.at(index);
    const std::size_t place = item.row - layer.first;
    if (keep_images_) raw_of(layer).write(static_cast<int>(place), result.image);

    const std::string file = fmt::format("{0}/{0}_f{1:04}.png", layer.name, result.id.filter);
    write_png(folder_ / file, result.picture, manifest_.extent);
    Picture tile = scale_tile(result.picture, manifest_.extent);

    bool last = false;
    {
      const std::scoped_lock lock(mutex_);
      layer.tile = tile.extent;
      layer.tiles[place].status = result.status;
      layer.tiles[place].picture = std::move(tile);
      manifest_.filters[item.row] = {.id = result.id,
                                     .status = result.status,
                                     .iterations = result.iterations,
                                     .first_loss = result.first_loss,
                                     .final_loss = result.final_loss,
                                     .last_gradient_norm = result.gradient_norm,
                                     .file = file};
      traces_[item.row] = std::move(result.trace);
      last = --layer.remaining == 0;
    }
    if (last) close_layer(index, layer);
  }

  NpyImageWriter& raw_of(Layer& layer) {
    const std::scoped_lock lock(mutex_);
    if (!layer.raw)
      layer.raw.emplace(folder_ / "raw" / (layer.name + ".npy"), static_cast<int>(layer.tiles.size()),
                        manifest_.extent);
    return *layer.raw;
  }

  /// Writes a layer's sheet and raw file with the filters that are there, and forgets its pictures.
  void close_layer(int index, Layer& layer) {
    layer.closed = true;
    const std::vector<SheetTile> tiles = std::exchange(layer.tiles, {});
    if (layer.raw) {
      attempt([&] {
        RawRecord record{.layer = index, .file = fmt::format("raw/{}.npy", layer.name), .filters = {}};
        for (const int row : layer.raw->written())
          record.filters.push_back(tiles[static_cast<std::size_t>(row)].filter);
        if (!record.filters.empty()) {
          layer.raw->finish();
          const std::scoped_lock lock(mutex_);
          manifest_.raw.push_back(std::move(record));
        }
      });
      layer.raw.reset();
    }
    if (std::ranges::all_of(tiles, [](const SheetTile& tile) { return !tile.status.has_value(); })) return;
    const Picture sheet = draw_sheet(heading_of(index), tiles, layer.tile);
    write_png(folder_ / layer.name / "sheet.png", sheet.pixels, sheet.extent);
  }

  SheetHeading heading_of(int index) const {
    const Convolution& convolution = manifest_.network.convolutions[static_cast<std::size_t>(index)];
    return {.title = fmt::format("{} {}", manifest_.network.name, convolution.name),
            .details = fmt::format("recipe {}, {} iterations, {} x {} pixels, seed {}, weights {}",
                                   manifest_.recipe.name, manifest_.recipe.iterations, manifest_.extent.width,
                                   manifest_.extent.height, manifest_.seed, manifest_.weights.name),
            .synthetic = manifest_.weights.kind == WeightsKind::synthetic};
  }

  void write_manifest() const { write_file(folder_ / "manifest.json", to_json(manifest_)); }

  void write_traces() const {
    std::string text = "layer,filter,iteration,loss\n";
    for (std::size_t row = 0; row < traces_.size(); ++row) {
      const FilterId id = manifest_.filters[row].id;
      const std::string& layer = manifest_.network.convolutions[static_cast<std::size_t>(id.layer)].name;
      for (const TracePoint& point : traces_[row])
        fmt::format_to(std::back_inserter(text), "{},{},{},{:.9g}\n", layer, id.filter, point.iteration,
                       point.loss);
    }
    write_file(folder_ / "traces.csv", text);
  }

  const std::filesystem::path folder_;
  const bool keep_images_;
  const std::vector<FilterId> selection_;
  std::map<int, Layer> layers_;  ///< Its keys stay as they are.

  std::mutex mutex_;
  std::condition_variable work_;  ///< Something is queued, or nothing more will be.
  std::condition_variable room_;  ///< Something left the queue.
  std::deque<Item> queue_;
  std::size_t queued_bytes_ = 0;  ///< With what is being written.
  bool closed_ = false;
  std::exception_ptr error_;  ///< The first.
  Manifest manifest_;
  std::vector<std::vector<TracePoint>> traces_;  ///< Of each row of the manifest.
  std::vector<bool> added_;                      ///< Likewise.

  std::vector<std::thread> encoders_;
};

RunWriter::RunWriter(std::filesystem::path folder, const Network& network, const Weights& weights,
                     const Recipe& recipe, const RenderOptions& options, std::vector<FilterId> selection,
                     RunContext context)
    : implementation_(std::make_unique<Implementation>(std::move(folder), network, weights, recipe, options,
                                                       std::move(selection), std::move(context))) {}

RunWriter::~RunWriter() = default;
void RunWriter::add(FilterResult result) {
  implementation_->add(std::move(result));
}
void RunWriter::finish(const RunSummary& summary) {
  implementation_->finish(summary);
}
RunWriter::Counts RunWriter::counts() const {
  return implementation_->counts();
}

}  // namespace filterscope
