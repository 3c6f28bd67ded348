#include "json.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <iomanip>
#include <sstream>
#include <stdexcept>

namespace filterscope {

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

}  // namespace filterscope
