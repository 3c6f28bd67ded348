#include "precision.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "../base/error.h"

namespace filterscope {

namespace {

constexpr std::array<std::pair<Precision, std::string_view>, 5> kPrecisions{{{Precision::automatic, "auto"},
                                                                             {Precision::fp32, "fp32"},
                                                                             {Precision::tf32, "tf32"},
                                                                             {Precision::bf16, "bf16"},
                                                                             {Precision::fp16, "fp16"}}};

}  // namespace

std::string_view to_string(Precision precision) {
  for (const auto& [value, name] : kPrecisions) {
    if (value == precision) return name;
  }
  return "unknown";
}

Precision parse_precision(std::string_view name) {
  for (const auto& [value, known] : kPrecisions) {
    if (known == name) return value;
  }
  throw Error(ErrorKind::usage,
              fmt::format("--precision {}: expected one of auto, fp32, tf32, bf16, fp16", name));
}

}  // namespace filterscope
