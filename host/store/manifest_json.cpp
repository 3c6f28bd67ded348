#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <stdexcept>

#include "../ascent/recipe_json.h"
#include "../base/error.h"
#include "file_names.h"
#include "json.h"
#include "manifest.h"

namespace filterscope {
namespace {

Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

std::string parse_text_or_null(const Json& json) {
  return json.is_null() ? std::string() : json.get<std::string>();
}

/// The one of `values` whose to_string() is this text.
template <typename Value>
Value parse_value(const Json& json, std::initializer_list<Value> values) {
  const auto text = json.get<std::string>();
  for (const Value value : values)
    if (to_string(value) == text) return value;
  throw std::invalid_argument(fmt::format("\"{}\" is not known to this version", text));
}

int parse_layer(const Json& json, const Network& network) {
  const auto name = json.get<std::string>();
  if (const auto layer = network.find(name)) return *layer;
  throw std::invalid_argument(fmt::format("{} has no layer \"{}\"", network.name, name));
}

void require_filter(int layer, int filter, const Network& network) {
  const Convolution& convolution = network.convolutions[static_cast<std::size_t>(layer)];
  if (filter < 0 || filter >= convolution.out_channels)
    throw std::invalid_argument(fmt::format("{} has no filter {}", convolution.name, filter));
}

/// A recipe as versions wrote it whose only one was `seed`; all its values but these were fixed.
Recipe parse_seed(const Json& json, Extent extent) {
  const Json& start = json.at("initial_image");
  Recipe recipe;
  recipe.name = json.at("name").get<std::string>();
  recipe.source = json.at("source").get<std::string>();
  recipe.trace_points = json.at("trace_points").get<int>();
  Stage& stage = recipe.stages.front();
  stage.extent = extent;
  stage.iterations = json.at("iterations").get<int>();
  stage.start.low = parse_number(start.at("low"));
  stage.start.high = parse_number(start.at("high"));
  stage.input_mapping = parse_mapping(json.at("input_mapping"));
  stage.objective.rescue = json.value("rescue", false);  // The first versions did not have it.
  stage.normalisation.epsilon = parse_number(json.at("gradient_normalisation").at("epsilon"));
  stage.optimiser.step = parse_number(json.at("optimiser").at("step"));
  if (stage.iterations < 1 || recipe.trace_points < 1)
    throw std::invalid_argument("its recipe has no iterations or traces no losses");
  const std::array kinds{start.at("kind"), json.at("objective"), json.at("gradient_normalisation").at("kind"),
                         json.at("optimiser").at("kind"), json.at("picture_mapping")};
  if (const std::array known{"uniform", "mean_activation", "l2_per_image", "gradient_ascent", "min_max"};
      !std::ranges::equal(kinds, known))
    throw std::invalid_argument("its recipe is not known to this version");
  return recipe;
}

Recipe parse_recipe_of(const Json& json, Extent extent) {
  if (json.contains("initial_image")) return parse_seed(json, extent);
  try {
    return parse_recipe(json, "its recipe");
  } catch (const Error& error) {
    throw std::invalid_argument(error.what());
  }
}

Json to_json(const WeightsRecord& weights) {
  return {{"name", weights.name},
          {"path", text_or_null(weights.path)},
          {"kind", to_string(weights.kind)},
          {"sha256", text_or_null(weights.sha256)},
          {"synthetic", weights.kind == WeightsKind::synthetic},
          {"natural_input", weights.natural_input ? to_json(*weights.natural_input) : Json(nullptr)},
          {"conversions", weights.conversions},
          {"notes", weights.notes}};
}

WeightsRecord parse_weights(const Json& json) {
  const Json& natural_input = json.at("natural_input");
  return {
      .name = json.at("name").get<std::string>(),
      .path = parse_text_or_null(json.at("path")),
      .kind = parse_value(json.at("kind"),
                          {WeightsKind::keras_hdf5, WeightsKind::safetensors, WeightsKind::synthetic}),
      .sha256 = parse_text_or_null(json.at("sha256")),
      .natural_input = natural_input.is_null() ? std::nullopt : std::optional(parse_mapping(natural_input)),
      // Earlier versions did not have them.
      .conversions = json.value("conversions", std::vector<std::string>{}),
      .notes = json.value("notes", std::vector<std::string>{})};
}

Json to_json(const std::optional<InitRecord>& init) {
  if (!init) return nullptr;
  return {{"file", init->file}, {"sha256", init->sha256}, {"filters", text_or_null(init->filters)}};
}

std::optional<InitRecord> parse_init(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return InitRecord{.file = json.at("file").get<std::string>(),
                    .sha256 = json.at("sha256").get<std::string>(),
                    .filters = parse_text_or_null(json.at("filters"))};
}

Json to_json(const PhaseSeconds& phases) {
  return {{"start_up", seconds(phases.start_up)}, {"weights", seconds(phases.weights)},
          {"plans", seconds(phases.plans)},       {"ascent", seconds(phases.ascent)},
          {"finish", seconds(phases.finish)},     {"encode", seconds(phases.encode)},
          {"write", seconds(phases.write)}};
}

PhaseSeconds parse_phases(const Json& json) {
  const auto phase = [&](const char* name) { return json.at(name).get<double>(); };
  return {.start_up = phase("start_up"),
          .weights = phase("weights"),
          .plans = phase("plans"),
          .ascent = phase("ascent"),
          .finish = phase("finish"),
          .encode = phase("encode"),
          .write = phase("write")};
}

Json counts(const std::vector<FilterRecord>& filters) {
  const auto count = [&](std::optional<FilterStatus> status) {
    return std::ranges::count(filters, status, &FilterRecord::status);
  };
  return {{"ok", count(FilterStatus::ok)},
          {"rescued", count(FilterStatus::rescued)},
          {"dead", count(FilterStatus::dead)},
          {"nonfinite", count(FilterStatus::nonfinite)},
          {"missing", count(std::nullopt)}};
}

Manifest parse(const Json& json, const Network& network) {
  if (!json.is_object() || !json.contains("program") || json.at("program") != "filterscope")
    throw ForeignManifest("it is another program's");
  if (json.at("network") != network.name)
    throw std::invalid_argument(fmt::format("it is for a network other than {}", network.name));
  Manifest manifest;
  manifest.version = json.at("version").get<std::string>();
  manifest.results = json.value("results", 1);  // Version 0.1.0 did not write it.
  manifest.command_lines = json.at("command_lines").get<std::vector<std::string>>();
  manifest.started = parse_time(json.at("started"));
  manifest.network = network;
  manifest.weights = parse_weights(json.at("weights"));
  const Extent extent{json.at("size").at("height").get<int>(), json.at("size").at("width").get<int>()};
  manifest.recipe = parse_recipe_of(json.at("recipe"), extent);
  manifest.seed = json.at("seed").get<std::uint64_t>();
  manifest.trace_every = json.at("trace_every").get<int>();
  manifest.init = parse_init(json.at("init"));
  manifest.reproducible = json.at("reproducible").get<bool>();
  for (const Json& engine : json.at("engines")) manifest.engines.push_back(parse_engine(engine));
  manifest.wall_seconds = json.at("wall_seconds").get<double>();
  manifest.phases = parse_phases(json.at("phases"));
  manifest.complete = json.at("complete").get<bool>();
  for (const Json& filter : json.at("filters")) manifest.filters.push_back(parse_filter(filter, network));
  if (json.contains("raw"))
    for (const Json& raw : json.at("raw")) manifest.raw.push_back(parse_raw(raw, network));

  if (extent.height < 1 || extent.width < 1) throw std::invalid_argument("its pictures have no size");
  if (manifest.recipe.stages.empty() || manifest.recipe.picture_extent() != extent)
    throw std::invalid_argument("its recipe makes pictures of another size");
  if (manifest.engines.empty()) throw std::invalid_argument("it names no engine");
  if (std::ranges::any_of(manifest.filters, [&](const FilterRecord& record) {
        return record.status && record.engine >= manifest.engines.size();
      }))
    throw std::invalid_argument("it names an engine that it does not describe");
  if (std::ranges::adjacent_find(manifest.filters, std::ranges::greater_equal{}, &FilterRecord::id) !=
      manifest.filters.end())
    throw std::invalid_argument("its filters are not in ascending order");
  return manifest;
}

}  // namespace

Json to_json(const EngineDescription& engine) {
  Json libraries = Json::object();
  for (const auto& [name, version] : engine.libraries) libraries[name] = version;
  return {{"device", engine.device},
          {"device_name", engine.device_name},
          {"precision", to_string(engine.precision)},
          {"threads", engine.threads},
          {"libraries", libraries},
          {"plans", engine.plans}};
}

EngineDescription parse_engine(const Json& json) {
  EngineDescription engine{.device = json.at("device").get<std::string>(),
                           .device_name = json.at("device_name").get<std::string>(),
                           .precision = parse_value(json.at("precision"), {Precision::fp32, Precision::tf32,
                                                                           Precision::bf16, Precision::fp16}),
                           .threads = json.at("threads").get<int>(),
                           .libraries = {},
                           .plans = json.at("plans").get<std::vector<std::string>>()};
  for (const auto& [name, version] : json.at("libraries").items())
    engine.libraries.emplace_back(name, version.get<std::string>());
  return engine;
}

Json to_json(const FilterRecord& record, const Manifest& manifest) {
  const bool there = record.status.has_value();
  const auto known = [there](const Json& value) { return there ? value : Json(nullptr); };
  Json json{{"layer", manifest.network.convolutions.at(static_cast<std::size_t>(record.id.layer)).name},
            {"filter", record.id.filter},
            {"seed", manifest.seed},
            {"iterations", known(record.iterations)},
            {"first_loss", known(number(record.first_loss))},
            {"final_loss", known(number(record.final_loss))},
            {"last_gradient_norm", known(number(record.last_gradient_norm))},
            {"status", there ? to_string(*record.status) : "missing"},
            {"file", known(record.file)},
            {"engine", known(record.engine)}};
  if (record.rescued_iterations > 0) json["rescued_iterations"] = record.rescued_iterations;
  if (record.alive_from > 0) json["alive_from"] = record.alive_from;
  if (record.range > 0) json["range"] = record.range;
  if (record.frame_every > 0) {
    json["animation"] = animation_file(manifest.network, record.id);
    json["frame_every"] = record.frame_every;
  }
  return json;
}

FilterRecord parse_filter(const Json& json, const Network& network) {
  FilterRecord record;
  record.id = {parse_layer(json.at("layer"), network), json.at("filter").get<int>()};
  require_filter(record.id.layer, record.id.filter, network);
  if (json.at("status") == "missing") return record;
  record.status = parse_value(json.at("status"), {FilterStatus::ok, FilterStatus::rescued, FilterStatus::dead,
                                                  FilterStatus::nonfinite});
  record.iterations = json.at("iterations").get<int>();
  record.first_loss = parse_number(json.at("first_loss"));
  record.final_loss = parse_number(json.at("final_loss"));
  record.last_gradient_norm = parse_number(json.at("last_gradient_norm"));
  record.file = json.at("file").get<std::string>();
  record.engine = json.at("engine").get<std::size_t>();
  record.rescued_iterations = json.value("rescued_iterations", 0);
  record.alive_from = json.value("alive_from", 0);
  record.range = json.value("range", 0);
  record.frame_every = json.value("frame_every", 0);
  if (record.frame_every < 0 || record.rescued_iterations < 0 || record.alive_from < 0)
    throw std::invalid_argument("a number of iterations is negative");
  return record;
}

Json to_json(const RawRecord& record, const Network& network) {
  return {{"layer", network.convolutions.at(static_cast<std::size_t>(record.layer)).name},
          {"file", record.file},
          {"filters", record.filters}};
}

RawRecord parse_raw(const Json& json, const Network& network) {
  RawRecord record{.layer = parse_layer(json.at("layer"), network),
                   .file = json.at("file").get<std::string>(),
                   .filters = json.at("filters").get<std::vector<int>>()};
  for (const int filter : record.filters) require_filter(record.layer, filter, network);
  return record;
}

std::string to_json(const Manifest& manifest) {
  Json json;
  json["program"] = "filterscope";
  json["version"] = manifest.version;
  json["results"] = manifest.results;
  json["command_lines"] = manifest.command_lines;
  json["started"] = time_text(manifest.started);
  json["complete"] = manifest.complete;
  json["network"] = manifest.network.name;
  json["weights"] = to_json(manifest.weights);
  json["recipe"] = to_json(manifest.recipe, MappingForm::numbers);
  const Extent extent = manifest.recipe.picture_extent();
  json["size"] = {{"height", extent.height}, {"width", extent.width}};
  json["iterations"] = manifest.recipe.iterations();
  json["trace_every"] = manifest.trace_every;
  json["seed"] = manifest.seed;
  json["init"] = to_json(manifest.init);
  json["reproducible"] = manifest.reproducible;
  json["engines"] = Json::array();
  for (const EngineDescription& engine : manifest.engines) json["engines"].push_back(to_json(engine));

  const auto done = std::ranges::count_if(
      manifest.filters, [](const FilterRecord& record) { return record.status.has_value(); });
  const double wall_seconds = seconds(manifest.wall_seconds);  // As it will be read back.
  json["wall_seconds"] = wall_seconds;
  json["phases"] = to_json(manifest.phases);
  json["filters_per_second"] =
      wall_seconds > 0 ? number(static_cast<float>(static_cast<double>(done) / wall_seconds)) : Json(nullptr);
  json["counts"] = counts(manifest.filters);
  json["filters"] = Json::array();
  for (const FilterRecord& record : manifest.filters) json["filters"].push_back(to_json(record, manifest));
  if (!manifest.raw.empty()) {
    json["raw"] = Json::array();
    for (const RawRecord& raw : manifest.raw) json["raw"].push_back(to_json(raw, manifest.network));
  }
  return over_lines(json, 0) + "\n";
}

Manifest parse_manifest(std::string_view text, const Network& network) {
  const Json json = parse_json(text);
  try {
    return parse(json, network);
  } catch (const Json::exception& exception) {
    throw std::invalid_argument(
        fmt::format("this version of the program would write it differently ({})", explanation(exception)));
  }
}

}  // namespace filterscope
