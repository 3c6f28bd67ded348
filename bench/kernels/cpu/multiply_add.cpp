// The CPU's peak arithmetic: only multiply-adds on registers. Compiled once per instruction set, which
// FILTERSCOPE_TABLE names.

#include "multiply_add.h"

namespace filterscope::bench::FILTERSCOPE_TABLE {

namespace {

#if defined(__AVX512F__)
constexpr int kVector = 16;
constexpr int kSums = 24;  // There are 32 registers.
#elif defined(__AVX2__)
constexpr int kVector = 8;
constexpr int kSums = 12;  // There are 16.
#else
constexpr int kVector = 4;
constexpr int kSums = 12;
#endif
typedef float Vector __attribute__((vector_size(kVector * sizeof(float))));

[[gnu::noinline]] float run(long repeats) {
  // With unknown values; otherwise the compiler would notice that all sums are equal.
  Vector start[kSums] = {};
  asm volatile("" : "+m"(start));
  Vector sums[kSums];
  for (int sum = 0; sum < kSums; ++sum) sums[sum] = start[sum];
  // Sums stay finite: each tends to 1 / (1 - 0.5).
  const Vector factor = Vector{} + 0.5f;
  const Vector term = Vector{} + 1.f;
  for (long i = 0; i < repeats; ++i) {
#pragma GCC unroll 24
    for (int sum = 0; sum < kSums; ++sum) sums[sum] = sums[sum] * factor + term;
  }
  float total = 0;
  for (const Vector& sum : sums) {
    for (int lane = 0; lane < kVector; ++lane) total += sum[lane];
  }
  return total;
}

}  // namespace

extern const MultiplyAdds loop;
const MultiplyAdds loop{2 * kVector * kSums, run};

}  // namespace filterscope::bench::FILTERSCOPE_TABLE
