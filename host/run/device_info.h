#pragma once

#include <string>

namespace filterscope {

/// A device known to this build, for `info` and for choosing one.
struct DeviceInfo {
  std::string id;  ///< As --device takes it.
  std::string name;
  bool usable = false;
  std::string remark;  ///< Why it is not usable, or how it computes.
};

}  // namespace filterscope
