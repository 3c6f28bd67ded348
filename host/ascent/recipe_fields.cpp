#include "recipe_fields.h"

#include <fmt/format.h>

#include "../base/error.h"

namespace filterscope::recipe_fields {

const std::vector<KnownMapping>& known_mappings() {
  static const std::vector<KnownMapping> all{{"auto", auto_mapping()},
                                             {"identity", identity_mapping()},
                                             {"keras", keras_mapping()},
                                             {"torchvision", torchvision_mapping()},
                                             {"torchvision_features", torchvision_features_mapping()}};
  return all;
}

bool is_in(Range range, double value) {
  return (range.above_low ? value > range.low : value >= range.low) &&
         (range.below_high ? value < range.high : value <= range.high);
}

std::string range_text(std::string_view what, Range range) {
  std::string text = fmt::format("a {}", what);
  if (range.low > -kHuge) text += fmt::format("{}{}", range.above_low ? " above " : " from ", range.low);
  if (range.high < kHuge)
    text += fmt::format("{}{}", range.below_high ? (range.above_low ? " and below " : " to below ") : " to ",
                        range.high);
  return text;
}

void refuse_value(std::string_view origin, std::string_view path, std::string_view expected,
                  std::string_view found) {
  throw Error(ErrorKind::usage, fmt::format("{}: {}{}expected {}, found {}", origin, path,
                                            path.empty() ? "" : ": ", expected, found));
}

}  // namespace filterscope::recipe_fields
