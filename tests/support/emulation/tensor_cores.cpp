#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "block.h"
#include "device.h"

namespace filterscope::emulation {

namespace {

long g_ldmatrix_bank_conflicts = 0;

}  // namespace

void ldmatrix(std::uint32_t (&fragment)[4], const void* row, bool transposed) {
  block().check_shared(row, 16);
  struct Row {
    const void* address;
    std::uint16_t elements[8];
  } own{row, {}};
  std::memcpy(own.elements, row, sizeof(own.elements));
  const Deposit* const warp = exchange(transposed ? "ldmatrix.trans" : "ldmatrix", deposit(own));
  if (lane() == 0) {
    constexpr std::uintptr_t kBankBytes = 128;  // All banks together.
    for (int i = 0; i < kLanes; ++i) {
      for (int j = i / 8 * 8; j < i; ++j) {
        const auto first = reinterpret_cast<std::uintptr_t>(value_of<Row>(warp[i]).address);
        const auto second = reinterpret_cast<std::uintptr_t>(value_of<Row>(warp[j]).address);
        if (first != second && first % kBankBytes == second % kBankBytes) ++g_ldmatrix_bank_conflicts;
      }
    }
  }
  const auto element = [&](int matrix, int matrix_row, int column) {
    return std::uint32_t{value_of<Row>(warp[8 * matrix + matrix_row]).elements[column]};
  };
  const int outer = lane() / 4;
  const int pair = lane() % 4 * 2;
  for (int matrix = 0; matrix < 4; ++matrix) {
    fragment[matrix] = transposed ? element(matrix, pair, outer) | element(matrix, pair + 1, outer) << 16
                                  : element(matrix, outer, pair) | element(matrix, outer, pair + 1) << 16;
  }
}

long ldmatrix_bank_conflicts() {
  return g_ldmatrix_bank_conflicts;
}

void wgmma_fence() {
  block().use_hopper();
  block().thread().wgmma_fenced = true;
}

void wgmma_m64k16(float* sums, int sums_count, const std::uint32_t* a, std::uint64_t b, bool add,
                  float (*to_float)(std::uint16_t bits)) {
  Thread& thread = block().thread();
  if (!thread.wgmma_fenced) fail("a product of a warpgroup without a fence before");
  thread.open_products.push_back({sums, sums_count, a, b, add, to_float});
  const auto pending = std::ranges::find(thread.pending_accumulators, sums, &PendingAccumulators::sums);
  if (pending != thread.pending_accumulators.end()) {
    ++pending->products;
  } else {
    thread.pending_accumulators.push_back({sums, std::vector<float>(sums, sums + sums_count), 1});
    std::fill_n(sums, sums_count, std::numeric_limits<float>::quiet_NaN());
  }
}

void wgmma_commit() {
  Thread& thread = block().thread();
  thread.wgmma_fenced = false;
  thread.product_groups.push_back(std::exchange(thread.open_products, {}));
}

void wgmma_wait(int pending) {
  Thread& thread = block().thread();
  while (thread.product_groups.size() > static_cast<std::size_t>(pending)) {
    for (const WarpgroupProduct& product : thread.product_groups.front()) {
      std::array<std::uint32_t, 4> own{};
      std::copy_n(product.a, own.size(), own.begin());
      const Deposit* const warp = exchange("wgmma", deposit(own));
      const auto a = [&](int row_half, int k) {
        const int register_index = row_half + k / 8 * 2;
        const std::uint32_t word = warp[lane() / 4 * 4 + k % 8 / 2].words[register_index];
        return product.to_float(static_cast<std::uint16_t>(word >> 16 * (k % 2)));
      };
      float rows[2][16];
      for (int k = 0; k < 16; ++k) {
        for (int half = 0; half < 2; ++half) rows[half][k] = a(half, k);
      }
      const auto pending_accumulators =
          std::ranges::find(thread.pending_accumulators, product.sums, &PendingAccumulators::sums);
      if (!product.add) std::ranges::fill(pending_accumulators->values, 0.f);
      for (int i = 0; i < product.sums_count; i += 4) {
        for (int column = 0; column < 2; ++column) {
          for (int k = 0; k < 16; ++k) {
            const float b =
                product.to_float(block().matrix_element(product.b, i / 4 * 8 + lane() % 4 * 2 + column, k));
            for (int half = 0; half < 2; ++half) {
              pending_accumulators->values[static_cast<std::size_t>(i + 2 * half + column)] +=
                  rows[half][k] * b;
            }
          }
        }
      }
      if (--pending_accumulators->products == 0) {
        std::ranges::copy(pending_accumulators->values, product.sums);
        thread.pending_accumulators.erase(pending_accumulators);
      }
    }
    thread.product_groups.erase(thread.product_groups.begin());
  }
  // Lanes wait together: none continues before all have read their operands.
  exchange("wgmma.wait", {});
}

}  // namespace filterscope::emulation
