#include "settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <utility>

#include "../ascent/recipe_json.h"
#include "../base/text.h"

namespace filterscope {
namespace {

/// "cuda" of "cuda:1".
std::string device_kind(const EngineDescription& engine) {
  return engine.device.substr(0, engine.device.find(':'));
}

/// Collects the settings that differ.
class Comparison {
 public:
  Comparison(const Manifest& first, const Manifest& second) : first_(first), second_(second) {}

  /// Compares what `value` makes of both; a reader sees what `shown` makes of them.
  template <typename Value, typename Shown>
  void add(const std::string& name, const Value& value, const Shown& shown) {
    if (value(first_) != value(second_)) differences_.push_back({name, shown(first_), shown(second_)});
  }
  template <typename Value>
  void add(const std::string& name, const Value& value) {
    add(name, value, value);
  }
  void add_recipe();

  std::vector<SettingDifference> take() { return std::move(differences_); }

 private:
  const Manifest& first_;
  const Manifest& second_;
  std::vector<SettingDifference> differences_;
};

/// Recipes of one stage have options for these values.
std::string flag_of(const std::string& path) {
  for (const auto& [value, flag] : {std::pair{"stages.0.iterations", "--iterations"},
                                    {"stages.0.optimiser.step", "--step"},
                                    {"stages.0.objective.rescue", "--rescue"},
                                    {"stages.0.size", "--size"}})
    if (path == value) return flag;
  return "";
}

/// Objects of different kinds differ in their kinds; that says enough.
std::string shown_value(const std::string& flag, const std::optional<Json>& value) {
  if (!value) return "none";
  if (value->is_object() && value->contains("kind")) return (*value)["kind"].get<std::string>();
  if (flag == "--rescue") return value->get<bool>() ? "on" : "off";
  if (flag == "--size")
    return value->is_array() ? size_text({(*value)[0].get<int>(), (*value)[1].get<int>()})
                             : size_text({value->get<int>(), value->get<int>()});
  return value->is_string() ? value->get<std::string>() : on_one_line(*value);
}

void Comparison::add_recipe() {
  add("--recipe", [](const Manifest& m) { return m.recipe.name; });
  if (first_.recipe.name != second_.recipe.name) return;  // Which says more than all the values.
  const bool one_stage = first_.recipe.stages.size() == 1 && second_.recipe.stages.size() == 1;
  const auto values = [](const Recipe& recipe) {
    Json json = with_whole_stages(recipe, MappingForm::numbers);
    for (const char* other : {"name", "summary", "source", "trace_points"}) json.erase(other);
    return json;
  };
  for (const RecipeDifference& one :
       filterscope::differences(values(first_.recipe), values(second_.recipe))) {
    const std::string flag = one_stage ? flag_of(one.path) : "";
    differences_.push_back({flag.empty() ? "the recipe's " + one.path : flag, shown_value(flag, one.first),
                            shown_value(flag, one.second)});
  }
}

std::string file_text(const std::string& file, const std::string& sha256) {
  return fmt::format("{} (SHA-256 {}...)", file, sha256.substr(0, 12));
}

}  // namespace

std::vector<SettingDifference> differing_settings(const Manifest& first, const Manifest& second) {
  Comparison settings(first, second);
  settings.add(
      "results", [](const Manifest& m) { return m.results; },
      [](const Manifest& m) { return fmt::format("those of version {}", m.version); });
  settings.add("network", [](const Manifest& m) { return m.network.name; });
  settings.add(
      "--weights",
      [](const Manifest& m) { return m.weights.sha256.empty() ? m.weights.name : m.weights.sha256; },
      [](const Manifest& m) {
        return m.weights.sha256.empty() ? m.weights.name : file_text(m.weights.name, m.weights.sha256);
      });
  // The file's name may decide its conventions, so one file can be read in two ways.
  settings.add(
      "how --weights are read", [](const Manifest& m) { return m.weights.conversions; },
      [](const Manifest& m) {
        return m.weights.conversions.empty() ? "as they are"
                                             : fmt::format("{}", fmt::join(m.weights.conversions, "; "));
      });
  settings.add_recipe();
  settings.add("--seed", [](const Manifest& m) { return std::to_string(m.seed); });
  settings.add(
      "--init", [](const Manifest& m) { return m.init ? m.init->sha256 : ""; },
      [](const Manifest& m) {
        return m.init ? file_text(start_file_name(*m.init), m.init->sha256) : "none";
      });
  settings.add(
      "filters with their own start images", [](const Manifest& m) { return m.init ? m.init->filters : ""; },
      [](const Manifest& m) { return m.init && !m.init->filters.empty() ? m.init->filters : "none"; });
  settings.add("--trace-every", [](const Manifest& m) { return std::to_string(m.trace_every); });
  settings.add("kind of --device", [](const Manifest& m) { return device_kind(m.engines.front()); });
  settings.add("--precision",
               [](const Manifest& m) { return std::string(to_string(m.engines.front().precision)); });
  settings.add("--reproducible", [](const Manifest& m) { return m.reproducible ? "yes" : "no"; });
  return settings.take();
}

}  // namespace filterscope
