#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../base/json.h"
#include "recipe.h"

namespace filterscope {

/// How a recipe's JSON says its input mappings: known ones by name ("keras"), or all by their numbers.
enum class MappingForm { names, numbers };

/// Every value of the recipe that counts. The first stage is whole; a later one has what differs from the
/// stage before it.
Json to_json(const Recipe& recipe, MappingForm mappings = MappingForm::names);
/// The same, with all stages whole.
Json with_whole_stages(const Recipe& recipe, MappingForm mappings = MappingForm::names);

/// The inverse of to_json(). What is missing is as in the stage before, in the first stage as in Stage{}:
/// objects merge, unless "kind" is given and differs, which begins a new object. Throws a usage Error that
/// begins with `origin` and names the path, what was expected and what was found, as in
/// "--recipe my.json: stages.0.optimiser.step: expected a number above 0, found -1". Values are within their
/// ranges, but require_valid() has more to say.
Recipe parse_recipe(const Json& json, std::string_view origin);

/// Sets one value of a recipe's JSON: `path` as in such messages, `text` JSON or, if it is none, a word.
/// Objects merge as in parse_recipe(). A path through something that has no members is a usage Error that
/// begins with `origin`; unknown keys are left to parse_recipe().
void set_value(Json& recipe, std::string_view path, std::string_view text, std::string_view origin);

/// A value that differs between two recipes; none where the kinds of one do not use it.
struct RecipeDifference {
  std::string path;
  std::optional<Json> first;
  std::optional<Json> second;
};
/// Between two results of with_whole_stages(). Lists count as values, and so do objects of different kinds,
/// and stages if there are not as many.
std::vector<RecipeDifference> differences(const Json& first, const Json& second);

Json to_json(const InputMapping& mapping);
/// Throws Json::exception for anything but a result of to_json().
InputMapping parse_mapping(const Json& json);

}  // namespace filterscope
