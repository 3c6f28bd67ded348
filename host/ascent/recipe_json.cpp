#include "recipe_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "recipe_fields.h"

namespace filterscope {
namespace {

using namespace recipe_fields;

constexpr std::string_view kMapping = "input_mapping";

class Writer {
 public:
  explicit Writer(MappingForm mappings, bool whole_stages = true)
      : mappings_(mappings), whole_stages_(whole_stages) {}

  Json take() { return std::move(json_); }

  template <typename Object, typename Names>
  void kind(const Object& object, const Names& names) {
    choice("kind", object.kind, names);
  }
  template <typename Value, typename Names>
  void choice(const char* key, Value value, const Names& names) {
    json_[key] = name_of(value, names);
  }
  template <typename Value, typename Names>
  void choice(const char* key, const std::optional<Value>& value, const Names& names) {
    if (value) choice(key, *value, names);
  }
  void number(const char* key, float value, Range) { json_[key] = filterscope::number(value); }
  void count(const char* key, int value, Range) { json_[key] = value; }
  void flag(const char* key, bool value) { json_[key] = value; }
  void text(const char* key, const std::string& value) { json_[key] = value; }
  void interval(const char* key, const std::optional<AfterStep::Interval>& value, Range) {
    json_[key] = value ? numbers(std::array{value->low, value->high}) : Json(nullptr);
  }
  void draw(const char* key, const Draw& draw, Range) {
    json_[key] = draw.choices.empty()
                     ? Json{{"low", filterscope::number(draw.low)}, {"high", filterscope::number(draw.high)}}
                     : numbers(draw.choices);
  }
  void extent(const char* key, Extent value) {
    json_[key] = value.height == value.width ? Json(value.height) : Json{value.height, value.width};
  }
  void extent(const char* key, const std::optional<Extent>& value) {
    json_[key] = nullptr;
    if (value) extent(key, *value);
  }
  void position(const char* key, const std::optional<Objective::Position>& value) {
    json_[key] = value ? Json{value->y, value->x} : Json(nullptr);
  }
  void mapping(const char* key, const InputMapping& mapping) {
    const auto known = std::ranges::find(known_mappings(), mapping, &KnownMapping::mapping);
    const bool by_name =
        known != known_mappings().end() && (mappings_ == MappingForm::names || mapping == auto_mapping());
    json_[key] = by_name ? Json(known->name) : to_json(mapping);
  }
  template <typename Object, typename... Arguments>
  void object(const char* key, const Object& object, Arguments... arguments) {
    json_[key] = written(object, arguments...);
  }
  template <typename Element, typename... Arguments>
  void list(const char* key, const std::vector<Element>& elements, Arguments... arguments) {
    json_[key] = Json::array();
    for (const Element& element : elements) json_[key].push_back(written(element, arguments...));
  }
  void stages(const char* key, const std::vector<Stage>& stages) {
    json_[key] = Json::array();
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const Json stage = written(stages[i], i == 0);
      json_[key].push_back(i == 0 || whole_stages_ ? stage : changed(written(stages[i - 1], false), stage));
    }
  }

 private:
  template <typename Object, typename... Arguments>
  Json written(const Object& object, Arguments... arguments) const {
    Writer part(mappings_);
    visit_fields(part, object, arguments...);
    return part.take();
  }

  /// What of `now` must be said where `before` is known. Objects of one kind have the same members.
  static Json changed(const Json& before, const Json& now) {
    Json change = Json::object();
    for (const auto& [key, value] : now.items()) {
      const Json& old = before.at(key);
      if (old == value) continue;
      const bool merge = value.is_object() && old.is_object() && key != kMapping &&
                         old.value("kind", Json(nullptr)) == value.value("kind", Json(nullptr));
      change[key] = merge ? changed(old, value) : value;
    }
    return change;
  }

  MappingForm mappings_;
  bool whole_stages_;
  Json json_ = Json::object();
};

void find_differences(const Json* first, const Json* second, const std::string& path,
                      std::vector<RecipeDifference>& all) {
  if (first != nullptr && second != nullptr && *first == *second) return;
  const auto deeper = [&](const std::string& key, const Json* a, const Json* b) {
    find_differences(a, b, path.empty() ? key : fmt::format("{}.{}", path, key), all);
  };
  const auto member = [](const Json& json, const std::string& key) {
    const auto found = json.find(key);
    return found == json.end() ? nullptr : &*found;
  };
  const auto alike = [&](const Json& a, const Json& b) {  // So that their members can be compared.
    const bool same_kind = a.value("kind", Json()) == b.value("kind", Json());
    return same_kind && !path.ends_with(kMapping);
  };
  if (first != nullptr && second != nullptr) {
    if (path == "stages" && first->size() == second->size()) {
      for (std::size_t i = 0; i < first->size(); ++i) deeper(std::to_string(i), &(*first)[i], &(*second)[i]);
      return;
    }
    if (first->is_object() && second->is_object() && alike(*first, *second)) {
      for (const auto& [key, value] : first->items()) deeper(key, &value, member(*second, key));
      for (const auto& [key, value] : second->items())
        if (!first->contains(key)) deeper(key, nullptr, &value);
      return;
    }
  }
  const auto known = [](const Json* json) { return json == nullptr ? std::nullopt : std::optional(*json); };
  all.push_back({path, known(first), known(second)});
}

}  // namespace

Json to_json(const Recipe& recipe, MappingForm mappings) {
  Writer writer(mappings, false);
  visit_fields(writer, recipe);
  return writer.take();
}

Json with_whole_stages(const Recipe& recipe, MappingForm mappings) {
  Writer writer(mappings);
  visit_fields(writer, recipe);
  return writer.take();
}

std::vector<RecipeDifference> differences(const Json& first, const Json& second) {
  std::vector<RecipeDifference> all;
  find_differences(&first, &second, "", all);
  return all;
}

Json to_json(const InputMapping& mapping) {
  return {{"name", mapping.name},
          {"source", mapping.source},
          {"scale", numbers(mapping.scale)},
          {"offset", numbers(mapping.offset)}};
}

InputMapping parse_mapping(const Json& json) {
  return {.name = json.at("name").get<std::string>(),
          .source = json.at("source").get<std::array<int, 3>>(),
          .scale = json.at("scale").get<std::array<float, 3>>(),
          .offset = json.at("offset").get<std::array<float, 3>>()};
}

}  // namespace filterscope
