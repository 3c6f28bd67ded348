#include "settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "../base/text.h"
#include "json.h"

namespace filterscope {
namespace {

/// "cuda" of "cuda:1".
std::string device_kind(const EngineDescription& engine) {
  return engine.device.substr(0, engine.device.find(':'));
}

/// A setting, as compared and as shown to a reader.
struct Setting {
  std::string name;
  std::string value;
  std::string shown;
};

std::vector<Setting> settings_of(const Manifest& manifest) {
  std::vector<Setting> settings;
  const auto add = [&](std::string name, std::string value, std::string shown = "") {
    if (shown.empty()) shown = value;
    settings.push_back({std::move(name), std::move(value), std::move(shown)});
  };
  const auto add_file = [&](std::string name, const std::string& file, const std::string& sha256) {
    add(std::move(name), sha256, fmt::format("{} (SHA-256 {}...)", file, sha256.substr(0, 12)));
  };
  add("results", std::to_string(manifest.results), fmt::format("those of version {}", manifest.version));
  add("network", manifest.network.name);
  if (manifest.weights.sha256.empty())
    add("--weights", manifest.weights.name);
  else
    add_file("--weights", manifest.weights.name, manifest.weights.sha256);
  // The file's name may decide its conventions, so one file can be read in two ways.
  add("how --weights are read", fmt::format("{}", fmt::join(manifest.weights.conversions, "; ")),
      manifest.weights.conversions.empty() ? "as they are" : "");
  add("--recipe", manifest.recipe.name);
  add("--iterations", std::to_string(manifest.recipe.iterations));
  add("--step", fmt::format("{}", manifest.recipe.optimiser.step));
  add("--rescue", manifest.recipe.rescue ? "on" : "off");
  add("--size", size_text(manifest.extent));
  add("--seed", std::to_string(manifest.seed));
  if (manifest.init)
    add_file("--init", start_file_name(*manifest.init), manifest.init->sha256);
  else
    add("--init", "none");
  const std::string filters = manifest.init ? manifest.init->filters : "";
  add("filters with their own start images", filters, filters.empty() ? "none" : filters);
  add("--trace-every", std::to_string(manifest.trace_every));
  add("kind of --device", device_kind(manifest.engines.front()));
  add("--precision", std::string(to_string(manifest.engines.front().precision)));
  add("--reproducible", manifest.reproducible ? "yes" : "no");
  // Values that no flag sets change only with the program.
  Json rest = to_json(manifest.recipe);
  for (const char* added : {"name", "rescue", "size", "iterations"}) rest.erase(added);
  rest["optimiser"].erase("step");
  add("values of the recipe", on_one_line(rest));
  return settings;
}

}  // namespace

std::vector<SettingDifference> differing_settings(const Manifest& first, const Manifest& second) {
  const std::vector<Setting> of_first = settings_of(first);
  const std::vector<Setting> of_second = settings_of(second);
  std::vector<SettingDifference> differences;
  for (std::size_t i = 0; i < of_first.size(); ++i)
    if (of_first[i].value != of_second[i].value)
      differences.push_back({of_first[i].name, of_first[i].shown, of_second[i].shown});
  return differences;
}

}  // namespace filterscope
