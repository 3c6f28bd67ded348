#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "manifest.h"

namespace filterscope {

/// What manifest.json and the journal write alike. Members keep their order.
using Json = nlohmann::ordered_json;

/// A float as the shortest number that reads back as that float (0.1, not 0.10000000149011612); null if not
/// finite.
Json number(float value);
/// With three decimals; null if not finite.
Json seconds(double value);
/// Every value of the recipe.
Json to_json(const Recipe& recipe);
Json to_json(const EngineDescription& engine);
Json to_json(const FilterRecord& record, const Manifest& manifest);
Json to_json(const RawRecord& record, const Network& network);
/// ISO 8601 in UTC, to the second.
std::string time_text(std::chrono::system_clock::time_point time);
/// Names may hold bytes that are no UTF-8, which are replaced: JSON has no place for them.
std::string on_one_line(const Json& value);

/// The reverse of number(): null is NaN.
float parse_number(const Json& json);
/// The reverse of to_json(). Throw Json::exception or std::invalid_argument for anything else.
EngineDescription parse_engine(const Json& json);
FilterRecord parse_filter(const Json& json, const Network& network);
RawRecord parse_raw(const Json& json, const Network& network);

}  // namespace filterscope
