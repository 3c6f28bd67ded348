#include "kernels.h"

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
  static const KernelTables tables = kernel_tables();
  return *tables.tables[0];
}

}  // namespace filterscope::cpu
