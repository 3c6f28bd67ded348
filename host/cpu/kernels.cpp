#include "kernels.h"

#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "../base/error.h"

namespace filterscope::cpu {

namespace kernels_generic {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace kernels_avx2 {
extern const Kernels table;
}
namespace kernels_avx512 {
extern const Kernels table;
}
#endif

KernelTables kernel_tables() {
  KernelTables found{};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") != 0) found.tables[found.count++] = &kernels_avx512::table;
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
    found.tables[found.count++] = &kernels_avx2::table;
  }
#endif
  found.tables[found.count++] = &kernels_generic::table;
  return found;
}

const Kernels& kernels() {
  static const Kernels* const chosen = []() -> const Kernels* {
    constexpr const char* kVariable = "FILTERSCOPE_CPU_KERNELS";
    const KernelTables found = kernel_tables();
    const char* const wanted = std::getenv(kVariable);
    if (wanted == nullptr || *wanted == '\0') return found.tables[0];
    std::string names;
    for (int i = 0; i < found.count; ++i) {
      if (std::string_view(wanted) == found.tables[i]->name) return found.tables[i];
      names += fmt::format("{}{}", i == 0 ? "" : ", ", found.tables[i]->name);
    }
    throw Error(
        ErrorKind::usage,
        fmt::format("${}: {} cannot run on this processor; expected one of {}, or nothing for the best",
                    kVariable, wanted, names));
  }();
  return *chosen;
}

}  // namespace filterscope::cpu
