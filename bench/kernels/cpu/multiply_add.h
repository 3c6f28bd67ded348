#pragma once

namespace filterscope::bench {

/// One of the loops below, which repeats multiply-adds on as many sums as hide their latency.
struct MultiplyAdds {
  int operations_per_repeat;
  /// Returns a value that depends on all sums.
  float (*run)(long repeats);
};

/// multiply_add.cpp compiled for each instruction set, as are the tables of kernels.
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
