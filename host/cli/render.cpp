#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "../base/error.h"
#include "../devices/devices.h"
#include "../gallery/gallery.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "../run/costs.h"
#include "../run/phases.h"
#include "../run/selection.h"
#include "../store/manifest.h"
#include "../store/run_writer.h"
#include "commands.h"
#include "common_options.h"
#include "interrupt.h"
#include "progress.h"
#include "recipe_options.h"
#include "render_request.h"
#include "terminal.h"
#include "text.h"

namespace filterscope::cli {

namespace {

constexpr double kLongRunSeconds = 60;
// With less work than this, no CPU takes a minute, and timing iterations for an estimate would be a good part
// of the run.
constexpr double kShortRunFlops = 2e11;
// The largest part of the run that timing iterations for an estimate may take.
constexpr double kEstimateShare = 0.03;
constexpr std::size_t kDeadListed = 12;
// With so few filters, selecting fewer is not suggested.
constexpr std::ptrdiff_t kFewFilters = 8;

// Passes what the engine reports on to the files and the user.
class RunObserver : public RenderObserver {
 public:
  RunObserver(const Renderer& renderer, RunWriter& writer, Progress& progress, const Network& network,
              bool verbose, bool name_filters)
      : renderer_(renderer),
        writer_(writer),
        progress_(progress),
        network_(network),
        verbose_(verbose),
        name_filters_(name_filters) {}

  void on_finished(FilterResult result) override {
    writer_.add(std::move(result), renderer_.describe());
    progress_.add_finished();
  }

  bool has_room(std::size_t bytes) override { return writer_.has_room(bytes); }

  void on_progress(std::int64_t steps) override { progress_.add_steps(steps); }

  void on_schedule(const Schedule& schedule) override {
    if (!verbose_) return;
    std::ptrdiff_t batches = 0;
    for (const BatchGroup& group : schedule.groups) batches += std::ssize(group.batches);
    progress_.clear();
    tell("Batches: {}, each of at most {} ({})\n", with_thousands(batches),
         counted(schedule.images, "filter"), schedule.reason);
  }

  void on_notice(const std::string& text) override {
    progress_.clear();
    tell("{}\n", text);
  }

  void on_loss(FilterId id, TracePoint point) override {
    if (!verbose_) return;
    progress_.clear();
    say("{}Iteration: {}, Loss: {:.6f}\n",
        name_filters_ ? fmt::format("{} {}  ", network_.convolutions[id.layer].name, id.filter) : "",
        point.iteration, point.loss);
  }

 private:
  const Renderer& renderer_;
  RunWriter& writer_;
  Progress& progress_;
  const Network& network_;
  bool verbose_;
  bool name_filters_;
};

int layers_of(const std::vector<FilterId>& selection) {
  int count = 0;
  int last = -1;
  for (const FilterId& id : selection) {
    count += id.layer != last ? 1 : 0;
    last = id.layer;
  }
  return count;
}

void print_start(const RenderRequest& request, const std::vector<FilterId>& filters, const Network& network,
                 const Weights& weights, const EngineDescription& engine, const std::string& why_not_gpu) {
  tell("{} of {} of {}, {}, recipe {}\n", counted(std::ssize(filters), "filter"),
       counted(layers_of(filters), "layer"), network.name, ascent_text(request.recipe), request.recipe.name);
  if (request.shard) {
    tell("Share:   {} of {}, {} of {}\n", request.shard->index, request.shard->count,
         with_thousands(std::ssize(request.selection)), counted(std::ssize(request.whole), "filter"));
  }
  if (const auto there = std::ssize(request.selection) - std::ssize(filters); there > 0)
    tell("Already: {} of the selection, in {}\n", counted(there, "filter"), (request.out / "").string());
  if (request.init) {
    tell("Start:   {}{}\n", request.init->filters.empty() ? "" : "one image for each filter, ",
         *request.init_file);
  }
  tell("Weights: {}\n", weights_text(weights));
  for (const auto* phrases : {&weights.conversions, &weights.notes})
    for (const std::string& phrase : *phrases) tell("         {}\n", phrase);
  tell("Device:  {} ({}), {}{}\n", engine.device, engine.device_name, to_string(engine.precision),
       engine.threads > 0 ? fmt::format(", {}", counted(engine.threads, "thread")) : "");
  if (!why_not_gpu.empty()) tell("         not a GPU: {}\n", why_not_gpu);
  if (const int every = request.render.frame_every; every > 0) {
    const int frames = frame_count(request.recipe.iterations(), every);
    const double megabytes = 1e-6 *
                             static_cast<double>(request.recipe.picture_extent().positions() * 3 * frames) *
                             static_cast<double>(filters.size());
    tell("Frames:  {} of each filter, one every {}; up to {} MB in all\n", frames,
         counted(every, "iteration"), with_thousands(static_cast<std::int64_t>(std::ceil(megabytes))));
  }
  if (weights.synthetic()) {
    tell(
        "Note:    these will not be pictures of a trained network; weights/fetch.sh downloads real "
        "weights\n");
  }
}

int columns_of_errors() {
  return terminal_columns(stderr);
}

Progress::Style progress_style(const RenderRequest& request) {
  if (request.quiet) return Progress::Style::silent;
  return is_rewritable(stderr) ? Progress::Style::terminal : Progress::Style::plain;
}

void refuse_profile_of_cpu(const RenderRequest& request, const Renderer& renderer,
                           const std::string& why_not_gpu) {
  if (request.render.profile_count == 0 || renderer.describe().device != "cpu") return;
  throw Error(
      ErrorKind::usage,
      fmt::format("--profile: expected a CUDA device, but this run would use the CPU{}. Leave it out or give "
                  "another --device",
                  why_not_gpu.empty() ? "" : " (" + why_not_gpu + ")"));
}

Manifest manifest_of(const RenderRequest& request, const std::vector<std::string>& arguments,
                     const Network& network, const Weights& weights, const Renderer& renderer) {
  Manifest manifest = describe_run(network, weights, request.recipe, request.render, renderer.describe());
  std::vector<std::string> command{"filterscope", "render"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  manifest.command_lines = {shell_quoted(command)};
  manifest.init = request.init;
  return manifest;
}

// Stopping is announced: an iteration of large images takes a while, and so does writing what is finished.
std::string stopping_text(const RenderRequest& request) {
  if (request.quiet) return "";
  return fmt::format("{}Stopping, and keeping what is finished; Ctrl-C again ends at once\n",
                     is_rewritable(stderr) ? "\r\x1b[J" : "");
}

// Shows, on a terminal, what is being done, until the end of its scope.
class LineOnTerminal {
 public:
  /// `text_in_short` is shown if there is no room for `text`.
  LineOnTerminal(std::string text, std::string text_in_short, bool quiet)
      : status_(stderr, columns_of_errors) {
    if (!quiet && is_rewritable(stderr)) status_.show(std::array{std::move(text), std::move(text_in_short)});
  }

 private:
  StatusLine status_;
};

// Returns seconds, or 0 if the run is too short to be worth timing or is interrupted meanwhile.
double estimate_and_print(Renderer& renderer, const RenderRequest& request,
                          const std::vector<FilterId>& filters, const Network& network,
                          const Interrupt& interrupt) {
  double flops = 0;
  for (const FilterId& id : filters) flops += ascent_flops(network, request.recipe, id.layer);
  if (flops < kShortRunFlops) return 0;

  const double seconds = [&] {
    const LineOnTerminal line("Timing an iteration of each layer ...", "Timing ...", request.quiet);
    return renderer.estimate(filters, kEstimateShare, interrupt.token()).value_or(0);
  }();
  if (seconds < kLongRunSeconds) return seconds;
  tell(
      "This will take about {} for {}. Ctrl-C stops and keeps what is finished.\n"
      "To shorten it: {}smaller --iterations or --size.\n",
      duration_text(seconds), counted(std::ssize(filters), "filter"),
      std::ssize(filters) > kFewFilters ? fmt::format("fewer filters, such as '{}:0-7' or '*:random3', or ",
                                                      network.convolutions[filters.front().layer].name)
                                        : "");
  return seconds;
}

void print_filters(std::string_view what, std::string_view meaning, const std::vector<FilterId>& filters,
                   const Network& network) {
  if (filters.empty()) return;
  fmt::print("{} {} ({}): {}{}\n", with_thousands(std::ssize(filters)), what, meaning,
             filters_text(filters, network, kDeadListed),
             filters.size() > kDeadListed ? ", see manifest.json" : "");
}

void print_summary(const RenderRequest& request, std::int64_t done, const Network& network,
                   const Weights& weights, const RunWriter::Counts& counts, double seconds) {
  fmt::print("{} in {}, {} filters/s\n", counted(done, "filter"), duration_text(seconds),
             rate_text(static_cast<double>(done) / std::max(seconds, 1e-9)));
  if (counts.rescued > 0)
    fmt::print(
        "{} rescued (had no gradient at first or later, and climbed the map before its ReLU meanwhile)\n",
        with_thousands(counts.rescued));
  print_filters("dead", "no gradient, or the finished image activates them nowhere", counts.dead, network);
  print_filters("not finite", "stopped; last finite image kept", counts.nonfinite, network);
  if (weights.synthetic()) fmt::print("Made from synthetic weights: not pictures of a trained network\n");
  const std::string next = request.shard ? "`filterscope merge` joins the shares"
                                         : "browse them with " + (request.out / "index.html").string();
  fmt::print("Pictures, sheets, traces.csv and manifest.json are in {}; {}\n", (request.out / "").string(),
             next);
}

void print_interrupted(const RenderRequest& request, const RunWriter::Counts& counts) {
  tell(
      "Interrupted: {} of {} finished, in {}; manifest.json there says which are missing, and the same "
      "command resumes\n",
      with_thousands(std::ssize(request.selection) - counts.missing),
      counted(std::ssize(request.selection), "filter"), (request.out / "").string());
}

void print_nothing_to_do(const RenderRequest& request) {
  if (request.selection.empty()) {
    fmt::print("Nothing to do: {} cannot fill {}; share {} is empty\n",
               counted(std::ssize(request.whole), "filter"), counted(request.shard->count, "share"),
               request.shard->index);
    return;
  }
  fmt::print("Nothing to do: {} already in {}; --force renders again\n",
             request.selection.size() == 1
                 ? "the filter is"
                 : fmt::format("all {} are", counted(std::ssize(request.selection), "filter")),
             (request.out / "").string());
}

// The page of a share is left to `merge`, which makes one for all shares.
void write_page(const RenderRequest& request) {
  if (!request.shard) write_gallery(request.out);
}

}  // namespace

int run_render(const std::vector<std::string>& arguments) {
  const auto started = std::chrono::steady_clock::now();
  const auto seconds_so_far = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  };
  const Arguments options = render_options().parse(arguments);
  if (options.has("help")) {
    fmt::print("{}", render_help());
    return 0;
  }

  const Network& network = vgg16();
  PhaseSeconds phases;
  RenderRequest request = timed(phases.start_up, [&] { return parse_render_request(options, network); });
  const Weights weights = timed(phases.weights, [&] { return resolve_weights(request.weights, network); });
  refuse_missing_layers(request, network, weights);
  request.recipe = with_input_of(std::move(request.recipe), weights);
  refuse_frames_beyond_memory(request);
  if (!request.force) refuse_foreign_files(request.out, kRunFiles, ", or --force");

  const Interrupt interrupt(stopping_text(request));
  if (request.render.initial_images.count > 1) keep_start_images(request, network);

  // The engine first: if there is none, the folder stays as it is.
  std::string why_not_gpu;
  const auto renderer = timed(phases.start_up, [&] {
    return make_renderer(network, weights, request.recipe, request.render, &why_not_gpu);
  });
  phases.start_up -= renderer->phases().weights;
  refuse_profile_of_cpu(request, *renderer, why_not_gpu);
  RunWriter writer(request.out, manifest_of(request, arguments, network, weights, *renderer),
                   request.selection,
                   {.keep_images = request.render.keep_images,
                    .frame_every = request.render.frame_every,
                    .force = request.force,
                    .processors_free = renderer->describe().device != "cpu"});
  const std::vector<FilterId>& filters = writer.remaining();
  require_start_images(request, filters);
  if (writer.traces_lost() && !request.quiet) tell("{}", lost_traces_note(request.out));
  if (filters.empty()) {
    writer.finish(0);
    write_page(request);
    if (!request.quiet) print_nothing_to_do(request);
    return 0;
  }

  double expected_seconds = 0;
  if (!request.quiet) {
    const EngineDescription description = renderer->describe();
    print_start(request, filters, network, weights, description, why_not_gpu);
    if (description.device == "cpu")
      expected_seconds = estimate_and_print(*renderer, request, filters, network, interrupt);
  }

  Progress progress(stderr, progress_style(request), network, filters, request.recipe, expected_seconds,
                    columns_of_errors);
  RunObserver observer(*renderer, writer, progress, network, request.verbose, request.selection.size() > 1);
  const auto all_phases = [&] {
    PhaseSeconds all = phases;
    all += renderer->phases();
    return all;
  };
  // Writes the files and a manifest that names the missing filters. The first failure is the one to report.
  const auto keep_what_is_finished = [&] {
    progress.clear();
    try {
      writer.finish(seconds_so_far(), all_phases());
    } catch (const Error&) {
    }
  };
  try {
    renderer->render(filters, observer, interrupt.token());
  } catch (const Error& error) {
    keep_what_is_finished();
    if (!request.quiet && error.kind() == ErrorKind::device) print_interrupted(request, writer.counts());
    throw;
  } catch (...) {
    keep_what_is_finished();
    throw;
  }
  progress.clear();
  {
    const LineOnTerminal line("Writing what is left ...", "Writing ...", request.quiet);
    writer.finish(seconds_so_far(), all_phases());
    write_page(request);
  }

  const RunWriter::Counts counts = writer.counts();
  if (!request.quiet && counts.missing > 0) print_interrupted(request, counts);
  if (!request.quiet && counts.missing == 0)
    print_summary(request, std::ssize(filters), network, weights, counts, seconds_so_far());
  return counts.missing > 0 ? kInterrupted : 0;
}

}  // namespace filterscope::cli
