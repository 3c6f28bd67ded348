#pragma once

#include <string_view>

namespace filterscope {

/// The arithmetic of the convolutions. Images, reductions and steps are fp32 in every precision.
enum class Precision { automatic, fp32, tf32, bf16, fp16 };
std::string_view to_string(Precision precision);
Precision parse_precision(std::string_view name);  ///< A usage Error for an unknown name.

}  // namespace filterscope
