#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "../engine.h"
#include "../error.h"
#include "../gallery/gallery.h"
#include "../network.h"
#include "../output/manifest.h"
#include "../output/npy.h"
#include "../output/run_writer.h"
#include "../output/stored_run.h"
#include "../phases.h"
#include "../recipe.h"
#include "../schedule.h"
#include "../selection.h"
#include "../sha256.h"
#include "../shard.h"
#include "../weights.h"
#include "commands.h"
#include "common_options.h"
#include "interrupt.h"
#include "launcher.h"
#include "options.h"
#include "progress.h"
#include "shard.h"
#include "text.h"

namespace filterscope::cli {

namespace {

constexpr double kLongRunSeconds = 60;
// Below this much work no CPU takes a minute, and timing iterations for an estimate would be a good part of
// the run.
constexpr double kShortRunFlops = 2e11;
// Of the run, the most that timing iterations for an estimate may take.
constexpr double kEstimateShare = 0.03;
// Of a layer at once, unless --batch asks for others; the engine may take fewer.
constexpr int kEstimateFilters = 64;
constexpr int kEstimateIterations = 3;
constexpr std::size_t kDeadListed = 12;
// No fewer are proposed.
constexpr std::ptrdiff_t kFewFilters = 8;
// Of an animation, unless told otherwise: enough to look smooth.
constexpr int kFrames = 50;

constexpr const char* kAbout =
    "Renders what filters look for: ascends, from noise, the image that activates each one most.";

constexpr const char* kSelectorHelp = R"(SELECTOR says which filters; several are merged. Without one: all
  all                  every filter of every layer
  LAYER                every filter of a layer:            block3_conv1
  LAYER:LIST           numbers and inclusive ranges:       block3_conv1:0-63,157
  LAYER:randomK        K filters, drawn by --seed:         block3_conv1:random3
  LAYER may hold *, for any run of characters:             'block3_*:0-7'  '*:random3'
  Layers and their numbers of filters: `filterscope list`.
)";

constexpr const char* kRecipeHelp = R"(Recipe
  seed                 uniform noise in [0, 1); mean activation of the filter; gradient divided by its norm over the
                       image; x += step * gradient; picture scaled from minimum to maximum.
  Channels: the seed recipe feeds the image to the network as it is, and Keras' weights read channel 0 as blue, so the
  red of a picture is what such a network takes for blue.
)";

constexpr const char* kOutputHelp = R"(Output, in the folder of --out
  LAYER/LAYER_fNNNN.png   the pictures              traces.csv      the losses
  LAYER/LAYER_fNNNN.apng  with --animate: the ascent, from the start image to the picture
  LAYER/sheet.png         a layer's pictures        manifest.json   how it was done, and one record per filter
  LAYER/curves.svg        a layer's losses          poster.png      all pictures, a strip for each layer
  index.html              the page to look through them all (with gallery/, which holds small versions)
  raw/LAYER.npy           with --raw: the images unscaled, float32 [n,H,W,3] in ascending filter order
)";

constexpr const char* kResumeHelp = R"(Going on
  The same command again renders only what is missing in the folder, also after Ctrl-C or a kill. With the same
  settings and other filters it adds these. Other settings are refused; selection, --raw, --animate, --batch,
  --threads and the device's number are no settings: with --raw or --animate N, filters that lack the unscaled image or
  an animation of such frames are rendered again.
)";

constexpr const char* kExamples = R"(Examples
  filterscope render block1_conv2:18 --verbose
  filterscope render '*:0-7' --iterations 100 --out sampler
  filterscope render --weights synthetic 'block1_*:random4'
  filterscope render --shard 2/4 --out run
)";

const OptionTable& render_options() {
  const Recipe& recipe = recipes().front();
  std::vector<std::string> names;
  for (const Recipe& known : recipes()) names.push_back(known.name);
  static const OptionTable table(
      "filterscope render",
      {
          {"Network", "weights", "PATH|synthetic[:SEED]",
           "Weights: Keras HDF5 or safetensors; synthetic is a stand-in that was never trained (default: the "
           "first "
           "file found by $FILTERSCOPE_WEIGHTS, in weights/, in ~/.keras/models/)"},
          {"Ascent", "recipe", "NAME",
           fmt::format("How images are made: {} (default: {})", fmt::join(names, ", "), recipe.name)},
          {"Ascent", "iterations", "N", fmt::format("Steps (default: as the recipe, {})", recipe.iterations)},
          {"Ascent", "step", "F",
           fmt::format("Length of a step (default: as the recipe, {})", recipe.optimiser.step)},
          {"Ascent", "size", "N",
           fmt::format("Height and width of the image, from {} (default: as the recipe, {})",
                       vgg16().smallest_image(), recipe.size)},
          {"Ascent", "seed", "N", "Seed of the noise and of randomK (default: 0)"},
          {"Ascent", "init", "FILE.npy",
           "Start from these images instead of noise: float32 [H,W,3] for all filters or [n,H,W,3], one for "
           "each in "
           "ascending order (default: noise)"},
          {"Ascent", "trace-every", "N",
           fmt::format(
               "Iterations between recorded losses (default: as the recipe, a {}th of the iterations)",
               recipe.trace_points)},
          {"Computation", "device", "auto|cpu|cuda|cuda:N",
           "Where to compute, see `filterscope info` (default: auto)"},
          {"Computation", "precision", "auto|fp32|tf32|bf16|fp16",
           "Arithmetic of the convolutions (default: auto)"},
          {"Computation", "batch", "auto|N", "Filters ascended at once (default: auto)"},
          {"Computation", "threads", "N",
           "CPU threads (default: $OMP_NUM_THREADS, what Slurm or mpirun leaves to this process, or all "
           "cores)"},
          {"Computation", "reproducible", "",
           "Fix the algorithms without timing them: the same bytes for a filter and seed, whatever else is "
           "rendered"},
          {"Computation", "profile", "FIRST:COUNT",
           "CUDA: let a profiler (nsys, ncu; see tools/profile.sh) capture only COUNT iterations of the run, "
           "from number "
           "FIRST on, operation by operation (default: all, as graphs)"},
          {"Output", "out", "DIR", fmt::format("Folder of the results (default: {})", kDefaultOut)},
          {"Output", "shard", "I/N|auto",
           "Render the I-th of N shares of the selection, of equal cost, into the folder shard-I-of-N of "
           "DIR; "
           "`filterscope merge` joins them. auto: as the Slurm job array, srun or mpirun around says"},
          {"Output", "raw", "", "Also write the unscaled images"},
          {"Output", "animate", "[auto|N]",
           fmt::format(
               "Also write each filter's ascent as an animated PNG, with a frame every N iterations, of "
               "about {} KB (default: none; auto: a {}th of the iterations)",
               recipe.size * recipe.size * 3 / 1000, kFrames),
           "auto"},
          {"Output", "force", "",
           "Forget what earlier runs left in the folder (files that are not replaced stay); without it a run "
           "with the same settings adds to it"},
          {"Output", "quiet", "", "Print nothing but errors"},
          {"Output", "verbose", "", "Print every recorded loss as `Iteration: 10, Loss: 0.784250`"},
      });
  return table;
}

void print_help() {
  fmt::print("{}\n\nUsage: filterscope render [SELECTOR...] [OPTION...]\n\n{}\n{}\n{}\n{}\n{}\n{}\n{}",
             kAbout, kSelectorHelp, render_options().help(), kRecipeHelp, kOutputHelp, kResumeHelp, kExamples,
             exit_codes_help());
}

// What the options ask for, before any file is read.
struct Request {
  std::vector<FilterId> whole;  ///< Of all shares.
  std::vector<FilterId> selection;
  std::optional<Shard> shard;
  Recipe recipe;
  RenderOptions render;
  std::optional<std::string> weights;
  std::optional<std::string> init_file;
  std::optional<InitRecord> init;  ///< Of that file, once it is read.
  bool size_given = false;
  std::filesystem::path out = kDefaultOut;
  bool force = false;
  bool quiet = false;
  bool verbose = false;
};

std::string parse_device(const std::string& text) {
  const bool numbered =
      text.starts_with("cuda:") && text.size() > 5 && text.size() < 10 &&
      std::all_of(text.begin() + 5, text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (text != "auto" && text != "cpu" && text != "cuda" && !numbered) {
    throw Error(
        ErrorKind::usage,
        fmt::format(
            "--device: expected auto, cpu, cuda or cuda:N, found \"{}\"; `filterscope info` lists the "
            "devices",
            text));
  }
  return text;
}

// FIRST:COUNT, both from 1.
void parse_profile(const std::string& text, RenderOptions& render) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) {
    throw Error(
        ErrorKind::usage,
        fmt::format("--profile: expected FIRST:COUNT, such as 11:2 for iterations 11 and 12, found \"{}\"",
                    text));
  }
  render.profile_first =
      static_cast<int>(parse_integer("--profile FIRST", text.substr(0, colon), 1, kMostIterations));
  render.profile_count =
      static_cast<int>(parse_integer("--profile COUNT", text.substr(colon + 1), 1, kMostIterations));
}

int parse_frame_every(const std::string& text, int iterations) {
  if (text == "auto") return std::max(1, iterations / kFrames);
  try {
    return static_cast<int>(parse_integer("--animate", text, 1, kMostIterations));
  } catch (const Error&) {
    throw Error(ErrorKind::usage,
                fmt::format("--animate: expected auto or a whole number from 1 to {}, found \"{}\"",
                            kMostIterations, text));
  }
}

Request parse_request(const Arguments& options, const Network& network) {
  Request request;
  request.quiet = options.has("quiet");
  request.verbose = options.has("verbose");
  if (request.quiet && request.verbose) {
    throw Error(ErrorKind::usage, "--quiet and --verbose: expected one of them, found both; leave one out");
  }

  request.recipe = find_recipe(options.value("recipe").value_or(recipes().front().name));
  if (const auto text = options.value("iterations")) {
    request.recipe.iterations = static_cast<int>(parse_integer("--iterations", *text, 1, kMostIterations));
  }
  if (const auto text = options.value("step"))
    request.recipe.optimiser.step = parse_positive("--step", *text);

  RenderOptions& render = request.render;
  request.size_given = options.has("size");
  render.extent = parse_size(options, network, request.recipe.size);
  request.recipe.size = render.extent.height;
  if (const auto text = options.value("seed")) render.seed = parse_seed("--seed", *text);
  if (const auto text = options.value("trace-every")) {
    render.trace_every = static_cast<int>(parse_integer("--trace-every", *text, 1, kMostIterations));
  }
  render.keep_images = options.has("raw");
  if (const auto text = options.value("animate"))
    render.frame_every = parse_frame_every(*text, request.recipe.iterations);
  render.reproducible = options.has("reproducible");
  if (const auto text = options.value("device")) render.device = parse_device(*text);
  if (const auto text = options.value("profile")) parse_profile(*text, render);
  if (const auto text = options.value("precision")) render.precision = parse_precision(*text);
  if (const auto text = options.value("batch"); text && *text != "auto") {
    try {
      render.batch = static_cast<int>(parse_integer("--batch", *text, 1, kLargestBatch));
    } catch (const Error&) {
      throw Error(ErrorKind::usage,
                  fmt::format("--batch: expected auto or a whole number from 1 to {}, found \"{}\"",
                              kLargestBatch, *text));
    }
  }
  if (const auto text = options.value("threads")) {
    render.threads = static_cast<int>(parse_integer("--threads", *text, 1, kMostThreads));
  } else {
    const int all = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    render.threads = threads_of_launcher(environment, available_processors(), all).value_or(0);
  }
  render.local_rank = local_rank(environment).rank;

  request.weights = parse_weights(options);
  if (const auto text = options.value("init")) request.init_file = parse_path("--init", "a .npy file", *text);
  if (const auto text = options.value("out")) request.out = parse_path("--out", "a folder", *text);
  request.force = options.has("force");
  if (const auto text = options.value("shard")) request.shard = parse_shard(*text, environment);
  request.whole = parse_selection(options.positional(), network, render.seed);
  return request;
}

void refuse_missing_layers(const std::vector<FilterId>& selection, const Network& network,
                           const Weights& weights) {
  const int renderable = renderable_layers(network, weights);
  const int deepest = selection.back().layer;
  if (deepest < renderable) return;

  std::vector<std::string> missing;
  std::vector<std::string> refused;
  for (int layer = 0; layer <= deepest; ++layer) {
    const std::string& name = network.convolutions[layer].name;
    if (!weights.holds(layer)) missing.push_back(name);
    if (layer >= renderable && std::ranges::find(selection, layer, &FilterId::layer) != selection.end()) {
      refused.push_back(name);
    }
  }
  const std::string usable = renderable > 0 ? fmt::format("with what it holds, `filterscope render {}` works",
                                                          selectors_text(network, renderable))
                                            : "no layer can be rendered with it";
  throw Error(ErrorKind::input,
              fmt::format("weights {}: the file does not hold {}, which {} need; {}. For the others give "
                          "--weights a file of the "
                          "whole network (weights/fetch.sh gets one)",
                          weights_text(weights), fmt::join(missing, ", "),
                          refused == missing ? "the selected filters"
                                             : fmt::format("the filters of {}", fmt::join(refused, ", ")),
                          usable));
}

void read_start_images(Request& request, const Network& network) {
  const std::string& file = *request.init_file;
  InitialImages images = read_initial_images(file);
  const Extent extent = images.extent;
  const int smallest = network.smallest_image();
  if (extent.height < smallest || extent.width < smallest || extent.height > kLargestImage ||
      extent.width > kLargestImage) {
    throw Error(
        ErrorKind::input,
        fmt::format("--init {}: expected images of height and width from {} to {}, found {} (width x height)",
                    file, smallest, kLargestImage, size_text(extent)));
  }
  if (request.size_given && extent != request.render.extent) {
    throw Error(
        ErrorKind::input,
        fmt::format(
            "--init {}: expected images of {} as --size says, found {} (width x height); leave --size out to "
            "take the file's",
            file, size_text(request.render.extent), size_text(extent)));
  }
  if (images.count != 1 && static_cast<std::size_t>(images.count) != request.whole.size()) {
    throw Error(ErrorKind::input,
                fmt::format("--init {}: expected one image or one for each of {}, found {}", file,
                            counted(std::ssize(request.whole), "selected filter"), images.count));
  }
  request.init = {.file = std::filesystem::absolute(file).string(),
                  .sha256 = sha256_of_file(file),
                  .filters = images.count == 1 ? "" : selectors_of(request.whole, network)};
  request.render.extent = extent;
  request.recipe.size = std::max(extent.height, extent.width);
  request.render.initial_images = std::move(images);
}

// An engine takes one start image for all filters, or one for each that it renders: of those of the whole
// selection, the ones that this share of it still lacks are kept.
void keep_start_images(Request& request, const Network& network) {
  std::optional<StoredRun> stored;
  if (!request.force) stored = read_run(request.out, network);
  const std::vector<FilterId> remaining = unfinished(request.selection, stored ? &*stored : nullptr,
                                                     request.render.keep_images, request.render.frame_every);
  InitialImages& images = request.render.initial_images;
  const auto size = static_cast<std::ptrdiff_t>(images.extent.positions() * 3);
  auto to = images.values.begin();
  for (const FilterId id : remaining) {
    const auto from =
        images.values.begin() + (std::ranges::lower_bound(request.whole, id) - request.whole.begin()) * size;
    to = std::copy(from, from + size, to);
  }
  images.values.erase(to, images.values.end());
  images.count = static_cast<int>(remaining.size());
}

// Another process may have finished filters in the folder since keep_start_images().
void require_start_images(const Request& request, const std::vector<FilterId>& remaining) {
  const bool one_each = request.init && !request.init->filters.empty();
  if (!one_each || static_cast<std::size_t>(request.render.initial_images.count) == remaining.size()) return;
  throw Error(ErrorKind::output,
              fmt::format("{}: another filterscope wrote to this folder meanwhile; run the "
                          "command again",
                          request.out.string()));
}

// Between the engine, the files and the user.
class RunObserver : public RenderObserver {
 public:
  RunObserver(const Engine& engine, RunWriter& writer, Progress& progress, const Network& network,
              bool print_losses, bool name_filters)
      : engine_(engine),
        writer_(writer),
        progress_(progress),
        network_(network),
        print_losses_(print_losses),
        name_filters_(name_filters) {}

  void on_finished(FilterResult result) override {
    writer_.add(std::move(result), engine_.describe());
    progress_.add_finished();
  }

  bool has_room(std::size_t bytes) override { return writer_.has_room(bytes); }

  void on_progress(std::int64_t steps) override { progress_.add_steps(steps); }

  void on_notice(const std::string& text) override {
    progress_.clear();
    tell("{}\n", text);
  }

  void on_loss(FilterId id, TracePoint point) override {
    if (!print_losses_) return;
    progress_.clear();
    if (name_filters_) fmt::print("{} {}  ", network_.convolutions[id.layer].name, id.filter);
    fmt::print("Iteration: {}, Loss: {:.6f}\n", point.iteration, point.loss);
    std::fflush(stdout);
  }

 private:
  const Engine& engine_;
  RunWriter& writer_;
  Progress& progress_;
  const Network& network_;
  bool print_losses_;
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

void print_start(const Request& request, const std::vector<FilterId>& filters, const Network& network,
                 const Weights& weights, const EngineDescription& engine, const std::string& why_not_gpu) {
  tell("{} of {} of {}, {} at {}, recipe {}\n", counted(std::ssize(filters), "filter"),
       counted(layers_of(filters), "layer"), network.name, counted(request.recipe.iterations, "iteration"),
       size_text(request.render.extent), request.recipe.name);
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
  tell("Device:  {} ({}), {}{}\n", engine.device, engine.device_name, to_string(engine.precision),
       engine.threads > 0 ? fmt::format(", {}", counted(engine.threads, "thread")) : "");
  if (!why_not_gpu.empty()) tell("         not a GPU: {}\n", why_not_gpu);
  if (const int every = request.render.frame_every; every > 0) {
    const int frames = frame_count(request.recipe.iterations, every);
    const double megabytes = 1e-6 * static_cast<double>(request.render.extent.positions() * 3 * frames) *
                             static_cast<double>(filters.size());
    tell("Frames:  {} of each filter, one every {}; up to {} MB in all\n", frames,
         counted(every, "iteration"), with_thousands(static_cast<std::int64_t>(std::ceil(megabytes))));
  }
  if (weights.synthetic()) {
    tell("Note:    these will not be pictures of a trained network; weights/fetch.sh gets real weights\n");
  }
}

// Frames wait in memory for their filter's end, and once more while they are encoded.
void refuse_frames_beyond_memory(const Request& request) {
  const double bytes = 2 * static_cast<double>(frame_bytes(request.recipe, request.render));
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (memory <= 0 || bytes <= memory) return;
  throw Error(
      ErrorKind::usage,
      fmt::format("--animate {}: {} of a filter, {} each, take {:.1f} GB of memory until "
                  "they are written, and there are {:.1f} GB. Keep fewer: a larger N",
                  request.render.frame_every,
                  counted(frame_count(request.recipe.iterations, request.render.frame_every), "frame"),
                  size_text(request.render.extent), 1e-9 * bytes, 1e-9 * memory));
}

// The page is the one file that others are likely to have, too.
void refuse_foreign_page(const Request& request) {
  const auto is_there = [&](const char* name) { return std::filesystem::exists(request.out / name); };
  if (request.force || !is_there("index.html") || is_there("manifest.json") || is_there("journal.jsonl"))
    return;
  throw Error(
      ErrorKind::usage,
      fmt::format("--out {}: expected a new folder or one of an earlier run, found an index.html without "
                  "a manifest.json, which would be replaced. Give another folder, or --force",
                  request.out.string()));
}

bool errors_on_terminal() {
  return isatty(fileno(stderr)) != 0;
}

// Of large images an iteration takes a while, and so does what is still to be written.
std::string stopping_text(const Request& request) {
  if (request.quiet) return "";
  return fmt::format("{}Stopping, and keeping what is finished; Ctrl-C again ends at once\n",
                     errors_on_terminal() ? "\r\x1b[K" : "");
}

// Shows what is being done until its scope ends, on a terminal.
class LineOnTerminal {
 public:
  LineOnTerminal(std::string_view text, bool quiet) : printed_(!quiet && errors_on_terminal()) {
    if (printed_) tell("{}", text);
  }
  ~LineOnTerminal() {
    if (printed_) tell("\r\x1b[K");
  }
  LineOnTerminal(const LineOnTerminal&) = delete;
  LineOnTerminal& operator=(const LineOnTerminal&) = delete;

 private:
  bool printed_;
};

// Seconds, or 0 where the run is too short to be worth timing, or is interrupted meanwhile.
double estimate_and_print(Engine& engine, const Request& request, const std::vector<FilterId>& filters,
                          const Network& network, const Interrupt& interrupt) {
  const auto end_of_layer = [&](auto first) {
    return std::find_if(first, filters.end(), [&](const FilterId& id) { return id.layer != first->layer; });
  };
  double run_flops = 0;
  double timed_flops = 0;
  for (auto first = filters.begin(); first != filters.end();) {
    const auto end = end_of_layer(first);
    const double flops = network.iteration_flops(first->layer, request.render.extent);
    const std::ptrdiff_t at_once = request.render.batch > 0 ? request.render.batch : kEstimateFilters;
    run_flops += flops * static_cast<double>(end - first) * request.recipe.iterations;
    timed_flops += flops * static_cast<double>(std::min(end - first, at_once)) * kEstimateIterations;
    first = end;
  }
  if (run_flops < kShortRunFlops || timed_flops > kEstimateShare * run_flops) return 0;

  double seconds = 0;
  {
    const LineOnTerminal line("Timing an iteration of each layer ...", request.quiet);
    // One layer at a time, so that an interruption need not wait for all.
    for (auto first = filters.begin(); first != filters.end() && !interrupt.requested();) {
      const auto end = end_of_layer(first);
      seconds += engine.estimate({first, end});
      first = end;
    }
  }
  if (interrupt.requested()) return 0;
  if (seconds < kLongRunSeconds) return seconds;
  tell(
      "This will take about {} for {}. Ctrl-C stops and keeps what is finished.\n"
      "For less: {}smaller --iterations or --size.\n",
      duration_text(seconds), counted(std::ssize(filters), "filter"),
      std::ssize(filters) > kFewFilters ? fmt::format("fewer filters, as '{}:0-7' or '*:random3', or ",
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

void print_summary(const Request& request, std::int64_t done, const Network& network, const Weights& weights,
                   const RunWriter::Counts& counts, double seconds) {
  fmt::print("{} in {}, {} filters/s\n", counted(done, "filter"), duration_text(seconds),
             rate_text(static_cast<double>(done) / std::max(seconds, 1e-9)));
  print_filters("dead", "no gradient; image left as it was", counts.dead, network);
  print_filters("not finite", "stopped; last finite image kept", counts.nonfinite, network);
  if (weights.synthetic()) fmt::print("Made from synthetic weights: not pictures of a trained network\n");
  const std::string next = request.shard ? "`filterscope merge` joins the shares"
                                         : "look through them with " + (request.out / "index.html").string();
  fmt::print("Pictures, sheets, traces.csv and manifest.json are in {}; {}\n", (request.out / "").string(),
             next);
}

void print_nothing_to_do(const Request& request) {
  if (request.selection.empty()) {
    fmt::print("Nothing to do: there are more shares than filters, and this one has none\n");
    return;
  }
  fmt::print("Nothing to do: {} already in {}; --force renders anew\n",
             request.selection.size() == 1
                 ? "the filter is"
                 : fmt::format("all {} are", counted(std::ssize(request.selection), "filter")),
             (request.out / "").string());
}

// Of a share `merge` makes the page, with all the others.
void write_page(const Request& request) {
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
    print_help();
    return 0;
  }

  const Network& network = vgg16();
  PhaseSeconds phases;
  Request request = timed(phases.start_up, [&] {
    Request parsed = parse_request(options, network);
    if (parsed.init_file) read_start_images(parsed, network);
    return parsed;
  });
  const Weights weights = timed(phases.weights, [&] { return resolve_weights(request.weights, network); });
  refuse_missing_layers(request.whole, network, weights);
  request.selection = request.whole;
  if (request.shard) {
    request.selection = filters_of_shard(request.whole, network, request.render.extent, *request.shard);
    request.out /= shard_folder(*request.shard);
  }

  refuse_frames_beyond_memory(request);
  refuse_foreign_page(request);

  const Interrupt interrupt(stopping_text(request));
  if (request.render.initial_images.count > 1) keep_start_images(request, network);

  // The engine first: when it cannot be had, what is in the folder stays as it is.
  std::string why_not_gpu;
  const auto engine = timed(phases.start_up, [&] {
    return make_engine(network, weights, request.recipe, request.render, &why_not_gpu);
  });
  phases.start_up -= engine->phases().weights;
  if (request.render.profile_count > 0 && engine->describe().device == "cpu") {
    throw Error(
        ErrorKind::usage,
        fmt::format("--profile: it is for CUDA devices, and this run would be on the CPU{}. Leave it out "
                    "or give another --device",
                    why_not_gpu.empty() ? "" : " (" + why_not_gpu + ")"));
  }
  Manifest run = describe_run(network, weights, request.recipe, request.render, engine->describe());
  std::vector<std::string> command{"filterscope", "render"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  run.command_lines = {shell_quoted(command)};
  run.init = request.init;
  RunWriter writer(request.out, std::move(run), request.selection,
                   {.keep_images = request.render.keep_images,
                    .frame_every = request.render.frame_every,
                    .force = request.force,
                    .processors_free = engine->describe().device != "cpu"});
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
    const EngineDescription description = engine->describe();
    print_start(request, filters, network, weights, description, why_not_gpu);
    if (description.device == "cpu")
      expected_seconds = estimate_and_print(*engine, request, filters, network, interrupt);
  }

  const auto style = request.quiet          ? Progress::Style::silent
                     : errors_on_terminal() ? Progress::Style::terminal
                                            : Progress::Style::plain;
  Progress progress(stderr, style, network, filters, request.render.extent, request.recipe.iterations,
                    expected_seconds);
  RunObserver observer(*engine, writer, progress, network, request.verbose, request.selection.size() > 1);
  const auto all_phases = [&] {
    PhaseSeconds all = phases;
    all += engine->phases();
    return all;
  };
  try {
    engine->render(filters, observer, interrupt.token());
  } catch (...) {
    progress.clear();
    // The files of what is finished and a manifest that says so; the first failure is the one to report.
    try {
      writer.finish(seconds_so_far(), all_phases());
    } catch (const Error&) {
    }
    throw;
  }
  progress.clear();
  {
    const LineOnTerminal line("Writing what is left ...", request.quiet);
    writer.finish(seconds_so_far(), all_phases());
    write_page(request);
  }

  const RunWriter::Counts counts = writer.counts();
  if (counts.missing > 0) {
    if (!request.quiet) {
      tell(
          "Interrupted: {} of {} finished, in {}; manifest.json there says which are missing, and the "
          "same command goes on\n",
          with_thousands(std::ssize(request.selection) - counts.missing),
          counted(std::ssize(request.selection), "filter"), (request.out / "").string());
    }
    return kInterrupted;
  }
  if (!request.quiet) print_summary(request, std::ssize(filters), network, weights, counts, seconds_so_far());
  return 0;
}

}  // namespace filterscope::cli
