#include "manifest.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "version.h"

namespace filterscope {
namespace {

using Json = nlohmann::ordered_json;

/// A float as the shortest number that reads back as that float (0.1, not 0.10000000149011612); null if not
/// finite.
Json number(float value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{}", value));
}

Json seconds(double value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{:.3f}", value));
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

template <typename Values>
Json numbers(const Values& values) {
  Json array = Json::array();
  for (const float value : values) array.push_back(number(value));
  return array;
}

Json to_json(const InputMapping& mapping) {
  return {{"name", mapping.name},
          {"source", mapping.source},
          {"scale", numbers(mapping.scale)},
          {"offset", numbers(mapping.offset)}};
}

Json to_json(const Recipe& recipe) {
  return {
      {"name", recipe.name},
      {"source", recipe.source},
      {"initial_image",
       {{"kind", to_string(recipe.initial_image.kind)},
        {"low", number(recipe.initial_image.low)},
        {"high", number(recipe.initial_image.high)}}},
      {"input_mapping", to_json(recipe.input_mapping)},
      {"objective", to_string(recipe.objective)},
      {"gradient_normalisation",
       {{"kind", to_string(recipe.gradient_normalisation.kind)},
        {"epsilon", number(recipe.gradient_normalisation.epsilon)}}},
      {"optimiser", {{"kind", to_string(recipe.optimiser.kind)}, {"step", number(recipe.optimiser.step)}}},
      {"picture_mapping", to_string(recipe.picture_mapping)},
      {"size", recipe.size},
      {"iterations", recipe.iterations},
      {"trace_points", recipe.trace_points}};
}

Json to_json(const WeightsRecord& weights) {
  return {{"name", weights.name},
          {"path", text_or_null(weights.path)},
          {"kind", to_string(weights.kind)},
          {"sha256", text_or_null(weights.sha256)},
          {"synthetic", weights.kind == WeightsKind::synthetic},
          {"natural_input", to_json(weights.natural_input)}};
}

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

Json to_json(const FilterRecord& record, const Manifest& manifest) {
  const bool there = record.status.has_value();
  const auto known = [there](const Json& value) { return there ? value : Json(nullptr); };
  return {{"layer", manifest.network.convolutions.at(static_cast<std::size_t>(record.id.layer)).name},
          {"filter", record.id.filter},
          {"seed", manifest.seed},
          {"iterations", known(record.iterations)},
          {"first_loss", known(number(record.first_loss))},
          {"final_loss", known(number(record.final_loss))},
          {"last_gradient_norm", known(number(record.last_gradient_norm))},
          {"status", there ? to_string(*record.status) : "missing"},
          {"file", known(record.file)}};
}

Json counts(const std::vector<FilterRecord>& filters) {
  const auto count = [&](std::optional<FilterStatus> status) {
    return std::ranges::count(filters, status, &FilterRecord::status);
  };
  return {{"ok", count(FilterStatus::ok)},
          {"dead", count(FilterStatus::dead)},
          {"nonfinite", count(FilterStatus::nonfinite)},
          {"missing", count(std::nullopt)}};
}

/// Paths and arguments may hold bytes that are no UTF-8; JSON may not.
std::string scalar(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string on_one_line(const Json& value) {
  if (!value.is_structured()) return scalar(value);
  std::string text;
  for (const auto& [key, member] : value.items()) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) text += scalar(key) + ": ";
    text += on_one_line(member);
  }
  return value.is_object() ? fmt::format("{{{}}}", text) : fmt::format("[{}]", text);
}

/// An object's members each on a line; an array of numbers on one line; any other array's elements each on a
/// line.
std::string over_lines(const Json& value, std::size_t indent) {
  const bool short_array =
      value.is_array() && std::ranges::all_of(value, [](const Json& element) { return element.is_number(); });
  if (!value.is_structured() || value.empty() || short_array) return on_one_line(value);
  const std::string margin(indent + 2, ' ');
  std::string text;
  for (const auto& [key, member] : value.items()) {
    text += text.empty() ? "\n" : ",\n";
    text += margin;
    text += value.is_object() ? scalar(key) + ": " + over_lines(member, indent + 2) : on_one_line(member);
  }
  text += fmt::format("\n{:{}}", "", indent);
  return value.is_object() ? fmt::format("{{{}}}", text) : fmt::format("[{}]", text);
}

}  // namespace

std::string to_json(const Manifest& manifest) {
  Json json;
  json["program"] = "filterscope";
  json["version"] = kVersion;
  json["command_line"] = manifest.command_line;
  json["started"] = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                                fmt::gmtime(std::chrono::system_clock::to_time_t(manifest.started)));
  json["complete"] = manifest.complete;
  json["network"] = manifest.network.name;
  json["weights"] = to_json(manifest.weights);
  json["recipe"] = to_json(manifest.recipe);
  json["size"] = {{"height", manifest.extent.height}, {"width", manifest.extent.width}};
  json["iterations"] = manifest.recipe.iterations;
  json["trace_every"] = manifest.trace_every;
  json["seed"] = manifest.seed;
  json["init"] = text_or_null(manifest.init_file);
  json["reproducible"] = manifest.reproducible;
  if (manifest.engine)
    json.update(to_json(*manifest.engine));
  else
    json["device"] = nullptr;

  const auto done = std::ranges::count_if(
      manifest.filters, [](const FilterRecord& record) { return record.status.has_value(); });
  json["wall_seconds"] = manifest.wall_seconds ? seconds(*manifest.wall_seconds) : Json(nullptr);
  json["filters_per_second"] =
      manifest.wall_seconds && *manifest.wall_seconds > 0
          ? number(static_cast<float>(static_cast<double>(done) / *manifest.wall_seconds))
          : Json(nullptr);
  json["counts"] = counts(manifest.filters);
  json["filters"] = Json::array();
  for (const FilterRecord& record : manifest.filters) json["filters"].push_back(to_json(record, manifest));
  if (!manifest.raw.empty()) {
    json["raw"] = Json::array();
    for (const RawRecord& raw : manifest.raw)
      json["raw"].push_back(
          {{"layer", manifest.network.convolutions.at(static_cast<std::size_t>(raw.layer)).name},
           {"file", raw.file},
           {"filters", raw.filters}});
  }
  return over_lines(json, 0) + "\n";
}

}  // namespace filterscope
