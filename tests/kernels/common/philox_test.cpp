#include "kernels/common/philox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

namespace filterscope {
namespace {

constexpr std::uint32_t kOnes = 0xffffffffu;

// Known answers published with the authors' Random123 library (tests/kat_vectors, philox4x32 10).
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(Philox::generate({{0, 0, 0, 0}}, {{0, 0}}),
            (Philox::Counter{{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}));
  EXPECT_EQ(Philox::generate({{kOnes, kOnes, kOnes, kOnes}}, {{kOnes, kOnes}}),
            (Philox::Counter{{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}));
  EXPECT_EQ(
      Philox::generate({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, {{0xa4093822u, 0x299f31d0u}}),
      (Philox::Counter{{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}));
}

TEST(Philox, IsAConstantExpression) {
  static_assert(Philox::generate({{0, 0, 0, 0}}, {{0, 0}})[0] == 0x6627e8d5u);
  static_assert(random_block(0, RandomStream::initial_image, 0, 0, 0)[3] == 0x9b00dbd8u);
}

TEST(RandomBlock, LaysOutCounterAndKey) {
  EXPECT_EQ(random_block(0x1122334455667788u, RandomStream::synthetic_weights, 12, 511, 6911),
            Philox::generate({{6911, 511, 12, 2}}, {{0x55667788u, 0x11223344u}}));
  EXPECT_EQ(random_block(5, RandomStream::selection, 1, 2, 3), Philox::generate({{3, 2, 1, 1}}, {{5, 0}}));
}

// Changing any one argument changes the block, and no two arguments are interchangeable.
TEST(RandomBlock, DiffersWhereverAnArgumentDoes) {
  std::set<Philox::Counter> blocks;
  std::size_t drawn = 0;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 32}) {
    for (const RandomStream stream :
         {RandomStream::initial_image, RandomStream::selection, RandomStream::synthetic_weights}) {
      for (std::uint32_t layer = 0; layer < 4; ++layer) {
        for (std::uint32_t filter = 0; filter < 4; ++filter) {
          for (std::uint32_t index = 0; index < 4; ++index) {
            blocks.insert(random_block(seed, stream, layer, filter, index));
            ++drawn;
          }
        }
      }
    }
  }
  EXPECT_EQ(blocks.size(), drawn);
}

std::vector<double> uniform_values(std::uint64_t seed, RandomStream stream, std::uint32_t layer,
                                   std::uint32_t filter) {
  std::vector<double> values;
  for (std::uint32_t index = 0; index < 25000; ++index) {
    for (const std::uint32_t word : random_block(seed, stream, layer, filter, index)) {
      values.push_back(double{to_unit_float(word)});
    }
  }
  return values;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const double mean_a = mean(a);
  const double mean_b = mean(b);
  double covariance = 0;
  double variance_a = 0;
  double variance_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    covariance += (a[i] - mean_a) * (b[i] - mean_b);
    variance_a += (a[i] - mean_a) * (a[i] - mean_a);
    variance_b += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return covariance / std::sqrt(variance_a * variance_b);
}

// The numbers are fixed, so these bounds of about four standard deviations either hold or fail in every run.
TEST(RandomBlock, IsUniform) {
  const std::vector<double> values = uniform_values(0, RandomStream::initial_image, 5, 17);
  const double count = static_cast<double>(values.size());
  EXPECT_NEAR(mean(values), 0.5, 4 * std::sqrt(1 / 12.0 / count));

  double squares = 0;
  std::array<int, 64> bins{};
  for (double value : values) {
    squares += (value - 0.5) * (value - 0.5);
    ++bins.at(static_cast<std::size_t>(value * 64));
  }
  EXPECT_NEAR(squares / count, 1 / 12.0, 4 * std::sqrt(1 / 180.0 / count));

  double chi_squared = 0;
  for (int bin : bins) chi_squared += (bin - count / 64) * (bin - count / 64) / (count / 64);
  EXPECT_NEAR(chi_squared, 63, 4 * std::sqrt(2 * 63.0));
}

TEST(RandomBlock, StreamsAreUncorrelated) {
  const std::vector<double> base = uniform_values(0, RandomStream::initial_image, 5, 17);
  const double bound = 4 / std::sqrt(static_cast<double>(base.size()));
  EXPECT_NEAR(correlation(base, base), 1, 1e-12);
  EXPECT_NEAR(correlation(base, uniform_values(1, RandomStream::initial_image, 5, 17)), 0, bound);
  EXPECT_NEAR(correlation(base, uniform_values(0, RandomStream::selection, 5, 17)), 0, bound);
  EXPECT_NEAR(correlation(base, uniform_values(0, RandomStream::initial_image, 6, 17)), 0, bound);
  EXPECT_NEAR(correlation(base, uniform_values(0, RandomStream::initial_image, 5, 18)), 0, bound);

  std::vector<double> shifted(base.begin() + 1, base.end());
  shifted.push_back(base.front());
  EXPECT_NEAR(correlation(base, shifted), 0, bound);
}

TEST(ToUnitFloat, StaysBelowOne) {
  EXPECT_EQ(to_unit_float(0), 0.f);
  EXPECT_EQ(to_unit_float(255), 0.f);
  EXPECT_EQ(to_unit_float(256), 0x1p-24f);
  EXPECT_EQ(to_unit_float(0x80000000u), 0.5f);
  EXPECT_EQ(to_unit_float(kOnes), 1 - 0x1p-24f);
  EXPECT_LT(to_unit_float(kOnes), 1.f);
}

}  // namespace
}  // namespace filterscope
