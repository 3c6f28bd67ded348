#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <concepts>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/error.h"
#include "../base/input_file.h"
#include "../base/nearest_name.h"
#include "../base/text.h"
#include "recipe_fields.h"
#include "recipe_json.h"

namespace filterscope {
namespace {

using namespace recipe_fields;

bool same_numbers(const InputMapping& a, const InputMapping& b) {
  return a.source == b.source && a.scale == b.scale && a.offset == b.offset;
}

/// A value as an error message shows it.
std::string shown(const Json& json) {
  const auto is_plain = [](const Json& element) { return !element.is_structured(); };
  if (json.is_object()) return "an object";
  if (json.is_array() && !std::ranges::all_of(json, is_plain)) return "a list of other things";
  return printable(on_one_line(json));
}

/// Reads one object; its path is where it lies in the recipe.
class Reader {
 public:
  Reader(const Json& json, std::string path, std::string_view origin)
      : json_(json), path_(std::move(path)), origin_(origin) {
    if (!json.is_object()) refuse(path_, path_.empty() ? "a recipe, an object" : "an object", json);
  }

  /// Throws for keys that nothing has asked for.
  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (std::ranges::find(known_, key) != known_.end()) continue;
      const auto nearest = nearest_name(key, known_);
      throw Error(ErrorKind::usage, fmt::format("{}{}unknown key \"{}\"{}; expected one of: {}",
                                                prefix(path_), path_.empty() ? "" : ": ", printable(key),
                                                nearest ? fmt::format(", did you mean {}?", *nearest) : "",
                                                fmt::join(known_, ", ")));
    }
  }

  template <typename Object, typename Names>
  void kind(Object& object, const Names& names) {
    auto kind = object.kind;
    choice("kind", kind, names);
    if (kind == object.kind) return;
    object = {};
    object.kind = kind;
  }
  template <typename Value, std::size_t N>
  void choice(const char* key, Value& value, const std::array<Named<Value>, N>& names) {
    const Json* json = find(key);
    if (json == nullptr) return;
    for (const Named<Value>& named : names) {
      if (*json != named.name) continue;
      value = named.value;
      return;
    }
    std::vector<std::string_view> known;
    for (const Named<Value>& named : names) known.push_back(named.name);
    refuse(path_of(key), fmt::format("{}", fmt::join(known, " or ")), *json);
  }
  template <typename Value, std::size_t N>
  void choice(const char* key, std::optional<Value>& value, const std::array<Named<Value>, N>& names) {
    if (find(key) == nullptr) return;
    Value given{};
    choice(key, given, names);
    value = given;
  }
  void number(const char* key, float& value, Range range) {
    if (const Json* json = find(key)) value = read_number(*json, path_of(key), range);
  }
  void count(const char* key, int& value, Range range) {
    if (const Json* json = find(key)) value = read_count(*json, path_of(key), range);
  }
  void flag(const char* key, bool& value) {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_boolean()) refuse(path_of(key), "true or false", *json);
    value = json->get<bool>();
  }
  void text(const char* key, std::string& value) {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_string()) refuse(path_of(key), "a text", *json);
    value = json->get<std::string>();
  }
  void interval(const char* key, std::optional<AfterStep::Interval>& value, Range range) {
    const Json* json = find(key);
    if (json == nullptr) return;
    value.reset();
    if (json->is_null()) return;
    require_list(*json, path_of(key), 2, "null or [low, high]");
    value = {.low = read_number((*json)[0], path_of(key, 0), range),
             .high = read_number((*json)[1], path_of(key, 1), range)};
  }
  void draw(const char* key, Draw& draw, Range range) {
    const Json* json = find(key);
    if (json == nullptr) return;
    draw.choices.clear();
    if (json->is_object()) {
      Reader part(*json, path_of(key), origin_);
      part.number("low", draw.low, range);
      part.number("high", draw.high, range);
      part.finish();
      return;
    }
    if (!json->is_array() || json->empty())
      refuse(path_of(key), R"(a list of numbers or {"low": F, "high": F})", *json);
    draw = {};
    for (std::size_t i = 0; i < json->size(); ++i)
      draw.choices.push_back(read_number((*json)[i], path_of(key, i), range));
  }
  void extent(const char* key, Extent& value) {
    if (const Json* json = find(key)) value = read_extent(*json, path_of(key), "N or [height, width]");
  }
  void extent(const char* key, std::optional<Extent>& value) {
    const Json* json = find(key);
    if (json == nullptr) return;
    value.reset();
    if (!json->is_null()) value = read_extent(*json, path_of(key), "null, N or [height, width]");
  }
  void position(const char* key, std::optional<Objective::Position>& value) {
    const Json* json = find(key);
    if (json == nullptr) return;
    value.reset();
    if (json->is_null()) return;
    require_list(*json, path_of(key), 2, "null, for the centre, or [y, x]");
    value = {.y = read_count((*json)[0], path_of(key, 0), kPixels),
             .x = read_count((*json)[1], path_of(key, 1), kPixels)};
  }
  void mapping(const char* key, InputMapping& value) {
    const Json* json = find(key);
    if (json == nullptr) return;
    for (const KnownMapping& known : known_mappings()) {
      if (*json != known.name) continue;
      value = known.mapping;
      return;
    }
    if (!json->is_object()) {
      std::vector<std::string_view> names;
      for (const KnownMapping& known : known_mappings()) names.push_back(known.name);
      refuse(path_of(key),
             fmt::format("{} or an object with source, scale and offset", fmt::join(names, ", ")), *json);
    }
    Reader part(*json, path_of(key), origin_);
    value = {.name = "custom"};
    part.text("name", value.name);
    part.triple("source", value.source);
    part.triple("scale", value.scale);
    part.triple("offset", value.offset);
    part.finish();
    for (const KnownMapping& known : known_mappings())
      if (known.name != "auto" && same_numbers(known.mapping, value)) value.name = known.mapping.name;
  }
  template <typename Object, typename... Arguments>
  void object(const char* key, Object& object, Arguments... arguments) {
    if (const Json* json = find(key)) read(*json, path_of(key), object, arguments...);
  }
  template <typename Element, typename... Arguments>
  void list(const char* key, std::vector<Element>& elements, Arguments... arguments) {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_array()) refuse(path_of(key), "a list", *json);
    elements.assign(json->size(), Element{});
    for (std::size_t i = 0; i < elements.size(); ++i)
      read((*json)[i], path_of(key, i), elements[i], arguments...);
  }
  void stages(const char* key, std::vector<Stage>& stages) {
    const Json* json = find(key);
    if (json == nullptr) return;
    if (!json->is_array()) refuse(path_of(key), "a list", *json);
    stages.clear();
    for (std::size_t i = 0; i < json->size(); ++i) {
      Stage stage = i == 0 ? Stage{} : stages.back();
      read((*json)[i], path_of(key, i), stage, i == 0);
      stages.push_back(std::move(stage));
    }
  }

 private:
  template <typename Object, typename... Arguments>
  void read(const Json& json, const std::string& path, Object& object, Arguments... arguments) const {
    Reader part(json, path, origin_);
    visit_fields(part, object, arguments...);
    part.finish();
  }
  template <typename Number>
  void triple(const char* key, std::array<Number, 3>& values) {
    const Json* json = find(key);
    if (json == nullptr) return;
    require_list(*json, path_of(key), 3, "three numbers, one for each channel");
    for (std::size_t c = 0; c < 3; ++c) {
      if constexpr (std::same_as<Number, int>)
        values[c] = read_count((*json)[c], path_of(key, c), {0, 2});
      else
        values[c] = read_number((*json)[c], path_of(key, c), kAny);
    }
  }

  const Json* find(const char* key) {
    known_.emplace_back(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  std::string path_of(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }
  std::string path_of(std::string_view key, std::size_t index) const {
    return fmt::format("{}.{}", path_of(key), index);
  }
  std::string prefix(const std::string& path) const { return fmt::format("{}: {}", origin_, path); }

  [[noreturn]] void refuse(const std::string& path, std::string_view expected, const Json& found) const {
    refuse_value(origin_, path, expected, shown(found));
  }
  void require_list(const Json& json, const std::string& path, std::size_t size,
                    std::string_view expected) const {
    if (!json.is_array() || json.size() != size) refuse(path, expected, json);
  }
  float read_number(const Json& json, const std::string& path, Range range) const {
    if (!json.is_number() || !is_in(range, json.get<double>()))
      refuse(path, range_text("number", range), json);
    return json.get<float>();
  }
  int read_count(const Json& json, const std::string& path, Range range) const {
    const double value = json.is_number() ? json.get<double>() : 0.5;
    if (value != std::floor(value) || !is_in(range, value))
      refuse(path, range_text("whole number", range), json);
    return static_cast<int>(value);
  }
  Extent read_extent(const Json& json, const std::string& path, std::string_view expected) const {
    constexpr Range kSides{1, kLargestImage};
    if (json.is_number()) {
      const int side = read_count(json, path, kSides);
      return {side, side};
    }
    require_list(json, path, 2, expected);
    return {read_count(json[0], path + ".0", kSides), read_count(json[1], path + ".1", kSides)};
  }

  const Json& json_;
  const std::string path_;
  const std::string_view origin_;
  std::vector<std::string> known_;
};

/// Brings `change` into `json`, as parse_recipe() would.
void merge(Json& json, const Json& change) {
  const bool merges = json.is_object() && change.is_object() &&
                      (!change.contains("kind") || !json.contains("kind") || json["kind"] == change["kind"]);
  if (!merges) {
    json = change;
    return;
  }
  for (const auto& [key, value] : change.items()) merge(json[key], value);
}

/// Sets what lies at `path`, from `begin` on, in `place`.
void set(Json& place, std::string_view path, std::size_t begin, const Json& value, std::string_view origin) {
  const std::size_t end = std::min(path.find('.', begin), path.size());
  const std::string key(path.substr(begin, end - begin));
  const bool last = end == path.size();
  const auto fail = [&](std::string_view expected) {
    throw Error(ErrorKind::usage,
                fmt::format("{}: {}: expected {}, found \"{}\"", origin,
                            printable(path.substr(0, begin > 0 ? begin - 1 : 0)), expected, printable(key)));
  };
  if (place.is_array()) {
    std::size_t index = 0;
    const auto [rest, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc{} || rest != key.data() + key.size() || index > place.size())
      fail(fmt::format("a number from 0 to {}", place.size()));
    if (index == place.size()) place.push_back(nullptr);
    last ? merge(place[index], value) : set(place[index], path, end + 1, value, origin);
    return;
  }
  if (key.empty() || !(place.is_object() || place.is_null())) fail("something that has members");
  if (last)
    merge(place, Json{{key, value}});
  else
    set(place[key], path, end + 1, value, origin);
}

}  // namespace

Recipe parse_recipe(const Json& json, std::string_view origin) {
  Recipe recipe;
  Reader reader(json, "", origin);
  visit_fields(reader, recipe);
  reader.finish();
  return recipe;
}

void set_value(Json& recipe, std::string_view path, std::string_view text, std::string_view origin) {
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) value = std::string(text);
  set(recipe, path, 0, value, origin);
}

Recipe read_recipe(const std::filesystem::path& file) {
  const std::string origin = "recipe " + file.string();
  const std::optional<std::string> text = read_file(file);
  if (!text) throw Error(ErrorKind::input, origin + ": expected a JSON file, found nothing of that name");
  Json json;
  try {
    json = parse_json(*text);
  } catch (const std::invalid_argument& problem) {
    throw Error(ErrorKind::usage, fmt::format("{}: {}", origin, problem.what()));
  }
  const bool of_run = json.is_object() && json.contains("recipe");
  Recipe recipe = parse_recipe(of_run ? json["recipe"] : json, origin);
  if (recipe.name.empty()) recipe.name = printable(file.stem().string());
  return recipe;
}

}  // namespace filterscope
