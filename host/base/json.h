#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace filterscope {

/// Members keep their order.
using Json = nlohmann::ordered_json;

/// A float as the shortest number that reads back as that float (0.1, not 0.10000000149011612); null if not
/// finite.
Json number(float value);
/// The inverse of number(): null is NaN.
float parse_number(const Json& json);
/// Each value by number().
template <typename Values>
Json numbers(const Values& values) {
  Json array = Json::array();
  for (const float value : values) array.push_back(number(value));
  return array;
}

/// A value on one line. Bytes of names that are not UTF-8, which JSON does not allow, are replaced.
std::string on_one_line(const Json& value);
/// A value over several lines, the first of which is indented by `indent` already: each member of an object
/// on a line, small objects and arrays of numbers on one line, each element of another array on a line unless
/// it has lists itself.
std::string over_lines(const Json& value, std::size_t indent);

/// Throws std::invalid_argument, whose message says where the text is wrong, about "it".
Json parse_json(std::string_view text);
/// The text of an exception without the library's prefix, "[json.exception.type_error.302] ".
std::string_view explanation(const Json::exception& exception);

}  // namespace filterscope
