#include "filter_result.h"

namespace filterscope {

std::string_view to_string(FilterStatus status) {
  switch (status) {
    case FilterStatus::ok:
      return "ok";
    case FilterStatus::rescued:
      return "rescued";
    case FilterStatus::dead:
      return "dead";
    case FilterStatus::nonfinite:
      return "nonfinite";
  }
  return "unknown";
}

}  // namespace filterscope
