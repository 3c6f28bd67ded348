#pragma once

namespace filterscope::bench {

/// What one call of a loop below does: `repeats` times, on as many sums as hide the latency.
struct MultiplyAdds {
  int operations_per_repeat;
  /// Returns something that depends on all sums.
  float (*run)(long repeats);
};

/// multiply_add.cpp, compiled for each instruction set as the kernels' tables are.
namespace multiply_add_avx512 {
extern const MultiplyAdds loop;
}
namespace multiply_add_avx2 {
extern const MultiplyAdds loop;
}
namespace multiply_add_generic {
extern const MultiplyAdds loop;
}

}  // namespace filterscope::bench
