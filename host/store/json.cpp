#include "json.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <iomanip>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace filterscope {
namespace {

std::string scalar(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Whether a value fits on a line whatever surrounds it: a scalar, an array of numbers, or nothing.
bool is_short(const Json& value) {
  return !value.is_structured() || value.empty() ||
         (value.is_array() &&
          std::ranges::all_of(value, [](const Json& element) { return element.is_number(); }));
}

}  // namespace

Json number(float value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{}", value));
}

float parse_number(const Json& json) {
  return json.is_null() ? std::numeric_limits<float>::quiet_NaN() : json.get<float>();
}

Json seconds(double value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{:.6f}", value));
}

std::string time_text(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::chrono::system_clock::time_point parse_time(const Json& json) {
  std::tm time{};
  std::istringstream stream(json.get<std::string>());
  stream >> std::get_time(&time, "%Y-%m-%dT%H:%M:%SZ");
  if (!stream) throw std::invalid_argument(fmt::format("\"{}\" is not a time", json.get<std::string>()));
  return std::chrono::system_clock::from_time_t(::timegm(&time));
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

std::string over_lines(const Json& value, std::size_t indent) {
  if (is_short(value)) return on_one_line(value);
  const std::string margin(indent + 2, ' ');
  std::string text;
  for (const auto& [key, member] : value.items()) {
    text += text.empty() ? "\n" : ",\n";
    text += margin;
    if (value.is_object()) text += scalar(key) + ": ";
    text += value.is_object() || !std::ranges::all_of(member, is_short) ? over_lines(member, indent + 2)
                                                                        : on_one_line(member);
  }
  text += fmt::format("\n{:{}}", "", indent);
  return value.is_object() ? fmt::format("{{{}}}", text) : fmt::format("[{}]", text);
}

std::string_view explanation(const Json::exception& exception) {
  std::string_view text = exception.what();
  if (const auto end = text.find("] "); text.starts_with('[') && end != std::string_view::npos)
    text.remove_prefix(end + 2);
  return text;
}

Json parse_json(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw std::invalid_argument(fmt::format("it is not valid JSON, from byte {} on", error.byte));
  } catch (const Json::exception& exception) {  // A number that no double holds.
    throw std::invalid_argument(fmt::format("it is JSON that cannot be read ({})", explanation(exception)));
  }
}

}  // namespace filterscope
