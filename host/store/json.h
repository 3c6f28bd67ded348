#pragma once

#include <chrono>
#include <string>

#include "../base/json.h"
#include "manifest.h"

namespace filterscope {

/// The JSON that manifest.json and the journal share.

/// Rounded to microseconds; null if not finite.
Json seconds(double value);
Json to_json(const EngineDescription& engine);
Json to_json(const FilterRecord& record, const Manifest& manifest);
Json to_json(const RawRecord& record, const Network& network);
/// ISO 8601 in UTC, to the second.
std::string time_text(std::chrono::system_clock::time_point time);

/// The inverse of time_text().
std::chrono::system_clock::time_point parse_time(const Json& json);
/// The inverses of to_json(). They throw Json::exception or std::invalid_argument for anything else.
EngineDescription parse_engine(const Json& json);
FilterRecord parse_filter(const Json& json, const Network& network);
RawRecord parse_raw(const Json& json, const Network& network);

}  // namespace filterscope
