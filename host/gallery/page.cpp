#include "page.h"

#include <fmt/format.h>
#include <mbedtls/base64.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "../ascent/recipe_json.h"
#include "../base/text.h"
#include "../run/selection.h"
#include "../store/file_names.h"
#include "../store/json.h"
#include "curves.h"
#include "page_sources.h"
#include "version.h"

namespace filterscope {
namespace {

/// Rounded to six digits; null if not finite.
Json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{:.6g}", value));
}

std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little, "the page reads little-endian numbers");
  const std::span<const std::byte> bytes = std::as_bytes(values);
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // mbedtls writes a terminating zero.
  std::size_t length = 0;
  if (mbedtls_base64_encode(reinterpret_cast<unsigned char*>(text.data()), text.size(), &length,
                            reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) != 0)
    throw std::logic_error("base64: the buffer is too small");
  text.resize(length);
  return text;
}

/// All steps at which one of the curves has a point, thinned to kCurvePoints.
std::vector<int> steps_of(const std::vector<std::vector<CurvePoint>>& curves) {
  std::set<int> distinct;
  for (const auto& curve : curves)
    for (const CurvePoint& point : curve) distinct.insert(point.steps);
  const std::vector<int> all(distinct.begin(), distinct.end());
  if (all.size() <= kCurvePoints) return all;
  std::vector<int> some;
  for (std::size_t i = 0; i < kCurvePoints; ++i)
    some.push_back(all[i * (all.size() - 1) / (kCurvePoints - 1)]);
  return some;
}

char letter(std::optional<FilterStatus> status) {
  if (!status) return '-';
  switch (*status) {
    case FilterStatus::ok:
      return 'o';
    case FilterStatus::rescued:
      return 'r';
    case FilterStatus::dead:
      return 'd';
    case FilterStatus::nonfinite:
      return 'n';
  }
  return '-';
}

char letter(PictureState state) {
  switch (state) {
    case PictureState::none:
      return '-';
    case PictureState::there:
      return 't';
    case PictureState::missing:
      return 'm';
    case PictureState::damaged:
      return 'd';
  }
  return '-';
}

Json layer_data(const LayerAtlases& layer, const PageRun& page, const std::vector<int>& steps,
                const std::vector<std::vector<CurvePoint>>& curves) {
  const Manifest& manifest = page.run.manifest;
  const Extent map = manifest.network.map_extent(layer.layer, canvas_extent(manifest.recipe.last()));
  std::string status, pictures;
  Json numbers = Json::array(), files = Json::array(), animations = Json::array(), iterations = Json::array(),
       rescued = Json::array(), alive = Json::array(), first = Json::array(), final = Json::array(),
       gradient = Json::array(), hue = Json::array(), chroma = Json::array(), contrast = Json::array();
  std::vector<float> losses;
  for (std::size_t row = layer.first; row < layer.first + layer.count; ++row) {
    const FilterRecord& filter = manifest.filters[row];
    const auto if_done = [&](float value) { return filter.status ? rounded(value) : Json(nullptr); };
    numbers.push_back(filter.id.filter);
    status += letter(filter.status);
    files.push_back(picture_file(manifest.network, filter.id));
    animations.push_back(filter.frame_every > 0 ? animation_file(manifest.network, filter.id) : "");
    iterations.push_back(filter.iterations);
    rescued.push_back(filter.rescued_iterations);
    alive.push_back(filter.alive_from);
    first.push_back(if_done(filter.first_loss));
    final.push_back(if_done(filter.final_loss));
    gradient.push_back(if_done(filter.last_gradient_norm));

    const PictureRecord& picture = page.survey.pictures[row];
    const auto if_seen = [&](double value) {
      return picture.state == PictureState::there ? rounded(value) : Json(nullptr);
    };
    pictures += letter(picture.state);
    hue.push_back(if_seen(std::round(picture.colours.hue)));
    chroma.push_back(if_seen(std::round(picture.colours.chroma * 1e4) / 1e4));
    contrast.push_back(if_seen(std::round(picture.colours.contrast * 1e4) / 1e4));

    auto point = curves[row].begin();
    for (const int step : steps) {
      while (point != curves[row].end() && point->steps < step) ++point;
      const bool there = point != curves[row].end() && point->steps == step;
      losses.push_back(there ? point->loss : std::numeric_limits<float>::quiet_NaN());
    }
  }
  return {{"layer", layer.layer},
          {"map", {map.height, map.width}},
          {"atlases", layer.files},
          {"numbers", std::move(numbers)},
          {"status", status},
          {"pictures", pictures},
          {"files", std::move(files)},
          {"animations", std::move(animations)},
          {"iterations", std::move(iterations)},
          {"rescued", std::move(rescued)},
          {"alive", std::move(alive)},
          {"first", std::move(first)},
          {"final", std::move(final)},
          {"gradient", std::move(gradient)},
          {"hue", std::move(hue)},
          {"chroma", std::move(chroma)},
          {"contrast", std::move(contrast)},
          {"curves", base64(losses)}};
}

/// An option with its value, quoted for a shell.
std::string quoted(const char* flag, std::string value) {
  return shell_quoted(std::vector<std::string>{flag, std::move(value)});
}

/// The options that make the run's recipe of a known one. Those of whole recipes come first, as `render`
/// applies them, then single values.
std::vector<std::string> recipe_options(const Manifest& manifest) {
  const Recipe& recipe = manifest.recipe;
  std::vector<std::string> options;
  const auto known = std::ranges::find(recipes(), recipe.name, &Recipe::name);
  // Another recipe is in the manifest of its run.
  if (known == recipes().end()) return {quoted("--recipe", "manifest.json")};
  if (known != recipes().begin()) options.push_back(quoted("--recipe", recipe.name));

  Recipe made = *known;
  for (Stage& stage : made.stages)
    if (stage.input_mapping == auto_mapping() && manifest.weights.natural_input)
      stage.input_mapping = *manifest.weights.natural_input;
  if (recipe.iterations() != made.iterations()) {
    options.push_back(quoted("--iterations", std::to_string(recipe.iterations())));
    made = with_iterations(made, recipe.iterations());
  }
  const Stage& last = recipe.last();
  if (last.optimiser.step != made.last().optimiser.step) {
    options.push_back(quoted("--step", fmt::format("{}", last.optimiser.step)));
    for (Stage& stage : made.stages) stage.optimiser.step = last.optimiser.step;
  }
  if (last.objective.rescue != made.last().objective.rescue) {
    options.push_back(quoted("--rescue", last.objective.rescue ? "on" : "off"));
    for (Stage& stage : made.stages) stage.objective.rescue = last.objective.rescue;
  }
  if (manifest.init) options.push_back(quoted("--init", manifest.init->file));
  if (last.extent != made.last().extent) {
    const bool by_init = manifest.init && made.stages.size() == 1;  // The file has the size.
    if (!by_init && last.extent.height == last.extent.width)
      options.push_back(quoted("--size", std::to_string(last.extent.height)));
    if (by_init || last.extent.height == last.extent.width) made = with_extent(made, last.extent);
  }
  for (const RecipeDifference& one : differences(with_whole_stages(made), with_whole_stages(recipe)))
    if (one.second && one.path != "summary" && one.path != "source")
      options.push_back(quoted("--set", fmt::format("{}={}", one.path, on_one_line(*one.second))));
  return options;
}

/// The options with which `filterscope render` repeats this run: seed, weights and device, whose defaults
/// depend on the machine, and all others that are not the default. Each is quoted for a shell, with its
/// value.
std::vector<std::string> options_of(const Manifest& manifest) {
  const WeightsRecord& weights = manifest.weights;
  std::vector<std::string> options{quoted("--weights", weights.path.empty() ? weights.name : weights.path)};
  std::ranges::move(recipe_options(manifest), std::back_inserter(options));
  if (!manifest.init || manifest.seed != 0)
    options.push_back(quoted("--seed", std::to_string(manifest.seed)));
  if (manifest.trace_every != manifest.recipe.trace_every())
    options.push_back(quoted("--trace-every", std::to_string(manifest.trace_every)));
  const EngineDescription& engine = manifest.engines.front();
  const bool on_cpu = engine.device == "cpu";
  options.push_back(quoted("--device", on_cpu ? "cpu" : "cuda"));
  if (engine.precision != (on_cpu ? Precision::fp32 : Precision::fp16))  // What `auto` means.
    options.push_back(quoted("--precision", std::string(to_string(engine.precision))));
  if (manifest.reproducible) options.emplace_back("--reproducible");
  return options;
}

Json run_data(const PageRun& page) {
  const Manifest& manifest = page.run.manifest;
  std::vector<std::vector<CurvePoint>> curves;
  for (std::size_t row = 0; row < manifest.filters.size(); ++row) curves.push_back(loss_curve(page.run, row));
  const std::vector<int> steps = steps_of(curves);
  Json layers = Json::array();
  for (const LayerAtlases& layer : page.survey.layers)
    layers.push_back(layer_data(layer, page, steps, curves));
  const Extent extent = manifest.recipe.picture_extent();
  std::vector<std::string> engines;
  for (const EngineDescription& engine : manifest.engines)
    engines.push_back(fmt::format("{} ({})", engine.device, engine.device_name));
  return {{"folder", percent_encoded(page.folder)},
          {"name", page.name},
          {"version", manifest.version},
          {"commands", manifest.command_lines},
          {"started", time_text(manifest.started)},
          {"complete", manifest.complete},
          {"wall_seconds", rounded(manifest.wall_seconds)},
          {"weights", manifest.weights.name},
          {"sha256", manifest.weights.sha256},
          {"synthetic", manifest.weights.kind == WeightsKind::synthetic},
          {"recipe", to_json(manifest.recipe)},
          {"rescue", std::ranges::any_of(manifest.recipe.stages,
                                         [](const Stage& stage) { return stage.objective.rescues(); })},
          {"height", extent.height},
          {"width", extent.width},
          {"iterations", manifest.recipe.iterations()},
          {"seed", std::to_string(manifest.seed)},
          {"start", manifest.init ? Json(start_file_name(*manifest.init)) : Json(nullptr)},
          {"start_sha256", manifest.init ? manifest.init->sha256 : ""},
          // With one start image per filter, filters cannot be rendered alone.
          {"selectors", manifest.init ? manifest.init->filters : ""},
          {"options", options_of(manifest)},
          {"reproducible", manifest.reproducible},
          {"engines", engines},
          {"precision", to_string(manifest.engines.front().precision)},
          {"thumbnail",
           {{"width", page.survey.thumbnail.width},
            {"height", page.survey.thumbnail.height},
            {"columns", kAtlasColumns},
            {"pictures", kAtlasPictures}}},
          {"steps", steps},
          {"layers", std::move(layers)}};
}

Json network_data(const Network& network) {
  Json layers = Json::array();
  int field = 1;   // Side of a position's receptive field, in pixels.
  int stride = 1;  // Pixels between neighbouring positions.
  for (const Convolution& convolution : network.convolutions) {
    field += 2 * stride;
    layers.push_back({{"name", convolution.name},
                      {"inputs", convolution.in_channels},
                      {"filters", convolution.out_channels},
                      {"pool", convolution.pool_after},
                      {"field", field}});
    if (convolution.pool_after) {
      field += stride;
      stride *= 2;
    }
  }
  return {{"name", network.name}, {"layers", std::move(layers)}};
}

/// Text for a script element, without "<", which could begin "</script" or "<!--".
std::string in_script(const Json& json) {
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char character : text) {
    if (character == '<')
      safe += "\\u003c";
    else
      safe += character;
  }
  return safe;
}

}  // namespace

std::string build_page(std::span<const PageRun> runs) {
  Json json{{"format", 1},
            {"version", kVersion},
            {"written", time_text(std::chrono::system_clock::now())},
            {"network", network_data(runs.front().run.manifest.network)},
            {"runs", Json::array()}};
  for (const PageRun& run : runs) json["runs"].push_back(run_data(run));

  const std::string data = in_script(json);
  // Each mark is in tools/gallery/index.html once, alone on its line.
  std::string page;
  std::string_view rest = kPageHtml;
  for (const auto& [mark, content] :
       {std::pair<std::string_view, std::string_view>{"/* style.css */", kPageStyle},
        {"/* data */", data},
        {"/* script */", kPageScript}}) {
    const std::size_t place = rest.find(mark);
    if (place == std::string_view::npos) throw std::logic_error("build_page: the page lacks a mark");
    page += rest.substr(0, place);
    page += content;
    rest.remove_prefix(place + mark.size());
  }
  page += rest;
  return page;
}

}  // namespace filterscope
