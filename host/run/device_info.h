#pragma once

#include <string>

namespace filterscope {

/// A device that this build knows of, for `info` and for choosing.
struct DeviceInfo {
  std::string id;  ///< What --device takes.
  std::string name;
  bool usable = false;
  std::string remark;  ///< Why it is not usable, or what to know.
};

}  // namespace filterscope
