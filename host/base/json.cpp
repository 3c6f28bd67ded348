#include "json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
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

/// The same, or an object of such values.
bool is_flat(const Json& value) {
  return is_short(value) || (value.is_object() && std::ranges::all_of(value, is_short));
}

}  // namespace

Json number(float value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{}", value));
}

float parse_number(const Json& json) {
  return json.is_null() ? std::numeric_limits<float>::quiet_NaN() : json.get<float>();
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
  if (indent > 0 && value.is_object() && std::ranges::all_of(value, is_flat)) {
    constexpr std::size_t kWidth = 110;
    std::string text = on_one_line(value);
    if (indent + text.size() <= kWidth) return text;
  }
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
