#include "render_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <system_error>
#include <utility>

#include "../base/error.h"
#include "../base/processors.h"
#include "../base/sha256.h"
#include "../base/text.h"
#include "../output/npy.h"
#include "../run/schedule.h"
#include "../store/stored_run.h"
#include "launcher.h"
#include "recipe_options.h"
#include "shard.h"
#include "text.h"

namespace filterscope::cli {

namespace {

// Frames of an animation by default: enough to look smooth.
constexpr int kFrames = 50;

constexpr const char* kAbout =
    "Renders what filters look for: for each filter, an image that activates it, by gradient ascent from "
    "noise.";

constexpr const char* kSelectorHelp = R"(SELECTOR names filters; several selectors are merged. Default: all
  all                  every filter of every layer
  LAYER                every filter of a layer:            block3_conv1
  LAYER:LIST           numbers and inclusive ranges:       block3_conv1:0-63,157
  LAYER:randomK        K filters, drawn with --seed:       block3_conv1:random3
  In LAYER, * matches any run of characters:               'block3_*:0-7'  '*:random3'
  `filterscope list` shows the layers and their numbers of filters.
)";

constexpr const char* kRecipeHelp = R"(Recipes
{}  `filterscope recipes NAME` prints all values of one, as JSON that --recipe takes again.
  Rescue: if no position of a filter's map is active, its mean activation has no gradient, and noise would stay
  noise. Unless --rescue off is given, such an iteration climbs the mean of the map before its ReLU.
  Channels: the recipes seed, keras2016, keras2019 and tf-keras-vis pass the image to the network as it is. Keras'
  weights read channel 0 as blue, so the network takes the red of a picture for blue.
)";

constexpr const char* kOutputHelp = R"(Output, in the folder of --out
  LAYER/LAYER_fNNNN.png   the pictures              traces.csv      the losses
  LAYER/LAYER_fNNNN.apng  with --animate: the ascent, from the start image to the picture
  LAYER/sheet.png         a layer's pictures        manifest.json   how it was computed, and one record per filter
  LAYER/curves.svg        a layer's loss curves     poster.png      all pictures, one strip per layer
  index.html              a page to browse them (with gallery/, which holds small versions of the pictures)
  raw/LAYER.npy           with --raw: the unscaled images, float32 [n,H,W,3] in ascending order of filter number
)";

constexpr const char* kResumeHelp = R"(Resuming
  The same command again renders only what is missing in the folder, also after Ctrl-C or a kill. With the same
  settings, other selectors add their filters; other settings are refused. Selection, --raw, --animate, --batch,
  --threads and the device's number may change: with --raw or --animate N, filters that lack the unscaled image or an
  animation with such frames are rendered again.
)";

constexpr const char* kExamples = R"(Examples
  filterscope render block1_conv2:18 --verbose
  filterscope render '*:0-7' --iterations 100 --out sampler
  filterscope render --weights synthetic 'block1_*:random4'
  filterscope render --shard 2/4 --out run
)";

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

// Parses FIRST:COUNT, both at least 1.
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

RenderRequest read_options(const Arguments& options, const Network& network) {
  RenderRequest request;
  request.quiet = options.has("quiet");
  request.verbose = options.has("verbose");
  if (request.quiet && request.verbose) {
    throw Error(ErrorKind::usage, "--quiet and --verbose: expected one of them, found both; leave one out");
  }

  const Recipe recipe = recipe_of(options.value("recipe").value_or(recipes().front().name));
  request.recipe = changed_recipe(recipe, options, network);
  request.size_given = request.recipe.first().extent != recipe.first().extent || options.has("size");
  RenderOptions& render = request.render;
  if (const auto text = options.value("seed")) render.seed = parse_seed("--seed", *text);
  if (const auto text = options.value("trace-every")) {
    render.trace_every = static_cast<int>(parse_integer("--trace-every", *text, 1, kMostIterations));
  }
  render.keep_images = options.has("raw");
  if (const auto text = options.value("animate"))
    render.frame_every = parse_frame_every(*text, request.recipe.iterations());
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
    render.threads =
        threads_of_launcher(environment, available_processors(), shared_processors()).value_or(0);
    if (render.threads > 0) render.threads = limit_threads(render.threads);
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

void read_start_images(RenderRequest& request, const Network& network) {
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
  const bool one_stage = request.recipe.stages.size() == 1;
  if (const Extent first = request.recipe.first().extent;
      extent != first && (request.size_given || !one_stage)) {
    throw Error(
        ErrorKind::input,
        fmt::format("--init {}: expected images of {}, {}, found {} (width x height){}", file,
                    size_text(first), one_stage ? "as --size says" : "the size of the recipe's first stage",
                    size_text(extent), one_stage ? "; leave out --size to use the file's" : ""));
  }
  if (images.count != 1 && static_cast<std::size_t>(images.count) != request.whole.size()) {
    throw Error(ErrorKind::input,
                fmt::format("--init {}: expected one image or one for each of {}, found {}", file,
                            counted(std::ssize(request.whole), "selected filter"), images.count));
  }
  std::error_code nowhere;  // If the current folder no longer exists, the path stays as given.
  const std::filesystem::path path = std::filesystem::absolute(file, nowhere);
  request.init = {.file = nowhere ? file : path.string(),
                  .sha256 = sha256_of_file(file),
                  .filters = images.count == 1 ? "" : selectors_of(request.whole, network)};
  if (extent != request.recipe.first().extent) request.recipe = with_extent(request.recipe, extent);
  request.render.initial_images = std::move(images);
}

}  // namespace

const OptionTable& render_options() {
  const Recipe& recipe = recipes().front();
  std::vector<std::string> names;
  for (const Recipe& known : recipes()) names.push_back(known.name);
  static const OptionTable table(
      "filterscope render",
      {
          {"Network", "weights", "PATH|synthetic[:SEED]",
           "Weights: Keras HDF5 or safetensors; synthetic weights were never trained (default: the first "
           "file found in $FILTERSCOPE_WEIGHTS, weights/, ~/.keras/models/)"},
          {"Ascent", "recipe", "NAME|FILE.json",
           fmt::format("How images are made: {} (default: {}); or a recipe, or a run's manifest, in a file",
                       fmt::join(names, ", "), recipe.name)},
          set_option("Ascent"),
          {"Ascent", "iterations", "N",
           fmt::format("Steps, of all stages together (default: the recipe's, {})", recipe.iterations())},
          {"Ascent", "step", "F",
           fmt::format("Length of a step, in every stage (default: the recipe's, {})",
                       recipe.first().optimiser.step)},
          {"Ascent", "rescue", "on|off",
           "While no position of a filter's map is active, so that there is no gradient, climb the map "
           "before its ReLU; off leaves such an image as it is (default: on)"},
          {"Ascent", "size", "N",
           fmt::format("Height and width of the image, from {}; earlier stages in proportion (default: the "
                       "recipe's, {})",
                       vgg16().smallest_image(), recipe.last().extent.height)},
          {"Ascent", "seed", "N", "Seed of all random draws and of randomK (default: 0)"},
          {"Ascent", "init", "FILE.npy",
           "Start from these images, as the recipe's first stage holds them, instead of noise: float32 "
           "[H,W,3] "
           "for all filters, or [n,H,W,3] with one per filter in ascending order (default: noise)"},
          {"Ascent", "trace-every", "N",
           fmt::format("Iterations between recorded losses (default: the recipe's, a {}th of the iterations)",
                       recipe.trace_points)},
          {"Computation", "device", "auto|cpu|cuda|cuda:N",
           "Where to compute, see `filterscope info` (default: auto)"},
          {"Computation", "precision", "auto|fp32|tf32|bf16|fp16",
           "Arithmetic of the convolutions (default: auto)"},
          {"Computation", "batch", "auto|N", "Filters ascended at once (default: auto)"},
          {"Computation", "threads", "N",
           "CPU threads (default: $OMP_NUM_THREADS, what Slurm or mpirun leaves to this process, or all "
           "cores that its affinity mask and its control group's CPU quota allow)"},
          {"Computation", "reproducible", "",
           "Fix the algorithms without timing them: the same bytes for a filter and seed, whatever else is "
           "rendered"},
          {"Computation", "profile", "FIRST:COUNT",
           "CUDA: limit a profiler's capture (nsys, ncu; see tools/profile.sh) to COUNT iterations of the "
           "run, starting with number FIRST, enqueued operation by operation (default: all, as graphs)"},
          {"Output", "out", "DIR", fmt::format("Folder of the results (default: {})", kDefaultOut)},
          {"Output", "shard", "I/N|auto",
           "Render the I-th of N shares of the selection, of equal cost, into the folder shard-I-of-N of "
           "DIR; `filterscope merge` joins them. auto: take I and N from the Slurm job array, srun or "
           "mpirun"},
          {"Output", "raw", "", "Also write the unscaled images"},
          {"Output", "animate", "[auto|N]",
           fmt::format(
               "Also write each filter's ascent as an animated PNG, with a frame of about {} KB every N "
               "iterations (default: none; auto: a {}th of the iterations)",
               (recipe.picture_extent().positions() * 3 + 500) / 1000, kFrames),
           "auto"},
          {"Output", "force", "",
           "Ignore what earlier runs left in the folder (files that are not replaced stay); without it, a "
           "run with the same settings adds to it"},
          {"Output", "quiet", "", "Print nothing but errors"},
          {"Output", "verbose", "",
           "Print every recorded loss as `Iteration: 10, Loss: 0.784250`, and the size of the batches"},
      });
  return table;
}

std::string render_help() {
  return fmt::format(
      "{}\n\nUsage: filterscope render [SELECTOR...] [OPTION...]\n\n{}\n{}\n{}\n{}\n{}\n{}\n{}", kAbout,
      kSelectorHelp, render_options().help(), fmt::format(fmt::runtime(kRecipeHelp), recipes_text()),
      kOutputHelp, kResumeHelp, kExamples, exit_codes_help());
}

RenderRequest parse_render_request(const Arguments& arguments, const Network& network) {
  RenderRequest request = read_options(arguments, network);
  if (request.init_file) read_start_images(request, network);
  require_valid(request.recipe, network.smallest_image());
  request.selection = request.whole;
  if (request.shard) {
    request.selection = filters_of_shard(request.whole, network, request.recipe, *request.shard);
    request.out /= shard_folder(*request.shard);
  }
  return request;
}

void refuse_missing_layers(const RenderRequest& request, const Network& network, const Weights& weights) {
  const std::vector<FilterId>& selection = request.whole;
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
              fmt::format("weights {}: the file does not hold {}, which {} need; {}. For the others, give "
                          "--weights a file of the whole network (weights/fetch.sh downloads one)",
                          weights_text(weights), fmt::join(missing, ", "),
                          refused == missing ? "the selected filters"
                                             : fmt::format("the filters of {}", fmt::join(refused, ", ")),
                          usable));
}

// Frames stay in memory until their filter is finished, and take as much again while they are encoded.
void refuse_frames_beyond_memory(const RenderRequest& request) {
  const double bytes = 2 * static_cast<double>(frame_bytes(request.recipe, request.render));
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (memory <= 0 || bytes <= memory) return;
  throw Error(
      ErrorKind::usage,
      fmt::format("--animate {}: {} of a filter, {} each, take {:.1f} GB of memory until "
                  "they are written, but there are {:.1f} GB. Give a larger N for fewer frames",
                  request.render.frame_every,
                  counted(frame_count(request.recipe.iterations(), request.render.frame_every), "frame"),
                  size_text(request.recipe.picture_extent()), 1e-9 * bytes, 1e-9 * memory));
}

void keep_start_images(RenderRequest& request, const Network& network) {
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

void require_start_images(const RenderRequest& request, const std::vector<FilterId>& remaining) {
  const bool one_each = request.init && !request.init->filters.empty();
  if (!one_each || static_cast<std::size_t>(request.render.initial_images.count) == remaining.size()) return;
  throw Error(ErrorKind::output,
              fmt::format("{}: another filterscope wrote to this folder meanwhile; run the "
                          "command again",
                          request.out.string()));
}

}  // namespace filterscope::cli
