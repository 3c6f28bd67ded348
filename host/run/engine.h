#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "../ascent/recipe.h"
#include "../base/initial_images.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "phases.h"
#include "selection.h"

namespace filterscope {

/// The arithmetic of the convolutions. Images, reductions and steps are fp32 in every precision.
enum class Precision { automatic, fp32, tf32, bf16, fp16 };
std::string_view to_string(Precision precision);
Precision parse_precision(std::string_view name);  ///< A usage Error for an unknown name.

/// One run's parameters beyond the recipe.
struct RenderOptions {
  Extent extent{96, 96};     ///< Of the image; at least Network::smallest_image() each way.
  std::uint64_t seed = 0;    ///< Of the initial noise.
  int trace_every = 0;       ///< Iterations between reported losses; 0: as the recipe says.
  bool keep_images = false;  ///< Also return the unscaled images.
  /// Iterations between the frames of a filter's animation; 0: none. A filter's frames take
  /// frame_count(iterations, frame_every) pictures of memory until the observer has them.
  int frame_every = 0;
  InitialImages initial_images;  ///< count 0: noise.

  std::string device = "auto";  ///< auto, cpu, cuda, cuda:N
  Precision precision = Precision::automatic;
  int batch = 0;    ///< Filters ascended at once; 0: chosen by the engine.
  int threads = 0;  ///< CPU threads; 0: default_threads().
  /// This process among those that render on this machine at the same time, from 0: so that each takes a GPU
  /// of its own where `device` names none.
  int local_rank = 0;
  bool reproducible =
      false;  ///< Fix the plan, so that a filter's bytes do not depend on what else is rendered.
  /// CUDA: a profiler's capture is limited to `profile_count` iterations of the run, from number
  /// `profile_first` (from 1) on; those are enqueued operation by operation, not as a graph. 0: no limit,
  /// graphs throughout.
  int profile_first = 1;
  int profile_count = 0;
};

enum class FilterStatus {
  ok,
  rescued,  ///< Some iterations climbed the map before its ReLU (Recipe::rescue); the finished image
            ///< activates it.
  dead,  ///< No position of the finished image's map is above zero, or the gradient became exactly zero, and
         ///< the image stayed as it was from there on.
  nonfinite,  ///< A value stopped being finite; the image is the last finite one.
};
std::string_view to_string(FilterStatus status);
/// Whether the finished image activates the filter.
constexpr bool is_alive(FilterStatus status) {
  return status == FilterStatus::ok || status == FilterStatus::rescued;
}

/// The loss that iteration `iteration` (from 1) found, before its step.
struct TracePoint {
  int iteration;
  float loss;
};

/// Frames of an ascent of so many iterations: one before the first iteration and after every frame_every,
/// and the finished picture.
constexpr int frame_count(int iterations, int frame_every) {
  return (iterations + frame_every - 1) / frame_every + 1;
}

/// What rendering one filter gives.
struct FilterResult {
  FilterId id{};
  FilterStatus status = FilterStatus::ok;
  int iterations = 0;         ///< Steps taken; fewer than asked for when dead or nonfinite.
  float first_loss = 0.f;     ///< Of the initial image.
  float final_loss = 0.f;     ///< Of the finished image.
  float gradient_norm = 0.f;  ///< Of the last gradient, before its normalisation.
  /// With Recipe::rescue: iterations that found no position of the map above zero. Each made a step all the
  /// same, unless there was no gradient before the ReLU either.
  int rescued_iterations = 0;
  /// The iteration after the last of those, from which on the map was above zero somewhere; one more than
  /// `iterations` where only the finished image's is. 0 unless the status is rescued.
  int alive_from = 0;
  std::vector<TracePoint> trace;
  std::vector<std::uint8_t> picture;  ///< Row-major [height, width, 3], RGB.
  std::vector<float> image;           ///< Row-major [height, width, 3], unscaled; only with keep_images.
  int frame_every = 0;                ///< As RenderOptions says.
  /// Only with frame_every: the pictures that 0, frame_every, 2 * frame_every, ... steps give, each encoded
  /// by itself as `picture` is, and at the end `picture`: frame_count(iterations, frame_every) in all.
  std::vector<std::vector<std::uint8_t>> frames;
};

/// Where the gradient of one filter's image passes on its way down: everything of the forward pass that it
/// depends on.
struct GradientMasks {
  /// Of each layer below the filter's, of its map before any pool, [height][width][channels]: 1 where the
  /// gradient passes, that is, where the value is above zero and, if a pool follows, its window's first
  /// maximum; else 0.
  std::vector<std::vector<std::uint8_t>> layers;
  /// Of the filter's own map, [height][width]: 1 where its response is above zero, or everywhere if the
  /// recipe rescues and no response is.
  std::vector<std::uint8_t> filter;
};

/// What one iteration finds before it makes its step.
struct FilterGradient {
  FilterId id{};
  double loss = 0;
  std::vector<float> gradient;         ///< Of the loss, with respect to the image: [height][width][3].
  std::optional<GradientMasks> masks;  ///< Nothing from the CPU engine.
};

/// What an engine tells while it renders. Calls come from one thread, that of Engine::render.
class RenderObserver {
 public:
  virtual ~RenderObserver() = default;
  /// A filter is finished, in no particular order. The observer may keep the result and should return at
  /// once.
  virtual void on_finished(FilterResult result) = 0;
  /// Whether on_finished() would return at once with a result of so many bytes. An engine that keeps a device
  /// busy meanwhile asks first, and holds results back as long as it has something to do for the device.
  virtual bool has_room(std::size_t /*bytes*/) { return true; }
  /// Filters in flight have finished another iteration: `steps` (filters x iterations) more of the total are
  /// done.
  virtual void on_progress(std::int64_t steps) = 0;
  /// A traced loss, as soon as the host knows it.
  virtual void on_loss(FilterId id, TracePoint point) = 0;
  /// Something that the user should know of, a sentence.
  virtual void on_notice(const std::string&) {}
};

/// Name and version of each.
using Libraries = std::vector<std::pair<std::string, std::string>>;

/// How an engine will compute, for the manifest and the user.
struct EngineDescription {
  std::string device;  ///< "cpu" or "cuda:N".
  std::string device_name;
  Precision precision = Precision::fp32;
  int threads = 0;
  Libraries libraries;
  /// The plans used so far, each identified by what fixes its bits: batch geometry, and per layer and
  /// direction the algorithm. Empty before the first batch.
  std::vector<std::string> plans;

  bool operator==(const EngineDescription&) const = default;
};

/// Renders filters of one network with one set of weights and one recipe. For one thread at a time.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual EngineDescription describe() const = 0;

  /// What it spent so far on bringing weights to the device, on plans and on the ascent; 0 in the other
  /// phases.
  virtual PhaseSeconds phases() const = 0;

  /// Seconds that render() of these filters would take, from timed iterations of each of their layers.
  /// Nothing where those would take more than `share` of the run, or `stop` is requested meanwhile.
  virtual std::optional<double> estimate(std::span<const FilterId> filters, double share,
                                         std::stop_token stop) = 0;

  /// Renders `filters` (ascending, each once) in batches of the engine's choosing, and gives each result to
  /// `observer` when it is done. Returns early, at the latest after the iteration, when `stop` is requested:
  /// what was given to the observer is complete, the rest is dropped. A filter of a layer whose weights (or
  /// those of a layer below) are missing is an input Error, one that the network has not a usage Error; so
  /// are start images that are not one for all or one for each.
  virtual void render(std::span<const FilterId> filters, RenderObserver& observer, std::stop_token stop) = 0;

  /// Losses and gradients of `images`, [filters][height][width][3], one for each of `filters` (ascending,
  /// each once): to check what render() climbs. In the order of `filters`. Other filters and another number
  /// of images are usage Errors, missing weights input Errors.
  virtual std::vector<FilterGradient> gradients(std::span<const FilterId> filters,
                                                std::span<const float> images) = 0;
};

}  // namespace filterscope
