#pragma once

#include <chrono>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "manifest.h"

namespace filterscope {

/// The JSON that manifest.json and the journal share. Members keep their order.
using Json = nlohmann::ordered_json;

/// A float as the shortest number that reads back as that float (0.1, not 0.10000000149011612); null if not
/// finite.
Json number(float value);
/// Rounded to microseconds; null if not finite.
Json seconds(double value);
/// Every value of the recipe.
Json to_json(const Recipe& recipe);
Json to_json(const EngineDescription& engine);
Json to_json(const FilterRecord& record, const Manifest& manifest);
Json to_json(const RawRecord& record, const Network& network);
/// ISO 8601 in UTC, to the second.
std::string time_text(std::chrono::system_clock::time_point time);
/// A value on one line. Bytes of names that are not UTF-8, which JSON does not allow, are replaced.
std::string on_one_line(const Json& value);
/// A value over several lines, the first of which is indented by `indent` already: each member of an object
/// on a line, an array of numbers on one line, each element of another array on a line unless it has lists
/// itself.
std::string over_lines(const Json& value, std::size_t indent);

/// Throws std::invalid_argument, whose message says where the text is wrong, about "it".
Json parse_json(std::string_view text);
/// The text of an exception without the library's prefix, "[json.exception.type_error.302] ".
std::string_view explanation(const Json::exception& exception);

/// The inverse of number(): null is NaN.
float parse_number(const Json& json);
/// The inverse of time_text().
std::chrono::system_clock::time_point parse_time(const Json& json);
/// The inverses of to_json(). They throw Json::exception or std::invalid_argument for anything else.
EngineDescription parse_engine(const Json& json);
FilterRecord parse_filter(const Json& json, const Network& network);
RawRecord parse_raw(const Json& json, const Network& network);

}  // namespace filterscope
