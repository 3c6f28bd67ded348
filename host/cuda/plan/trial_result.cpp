#include "trial_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "../../base/threads.h"
#include "kernels/common/types.h"

namespace filterscope::cuda {

namespace {

constexpr int kBitsPerWord = 32;
// Values per thread at a time.
constexpr int kPiece = 1 << 16;

double relative_difference(const std::vector<float>& values, const std::vector<float>& expected) {
  const int count = static_cast<int>(values.size());
  std::vector<double> differences((count + kPiece - 1) / kPiece);
  std::vector<double> norms(differences.size());
  parallel_tiles(1, count, kPiece, [&](int, int begin, int end) {
    double difference = 0;
    double norm = 0;
    for (int i = begin; i < end; ++i) {
      difference += std::pow(static_cast<double>(values[i]) - expected[i], 2);
      norm += std::pow(static_cast<double>(expected[i]), 2);
    }
    differences[begin / kPiece] = difference;
    norms[begin / kPiece] = norm;
  });
  const double difference = std::reduce(differences.begin(), differences.end());
  return difference == 0 ? 0 : std::sqrt(difference / std::reduce(norms.begin(), norms.end()));
}

double different_fields(const std::vector<std::uint8_t>& fields, const std::vector<std::uint8_t>& expected) {
  std::size_t different = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) different += fields[i] == expected[i] ? 0 : 1;
  return expected.empty() ? 0 : static_cast<double>(different) / static_cast<double>(expected.size());
}

}  // namespace

std::vector<Sample> samples_of(int images, std::size_t size) {
  constexpr std::size_t kMost = std::size_t{1} << 24;
  const std::size_t count = std::min(size, kMost);
  std::vector<Sample> samples{{0, 0, count}};
  if (images > 1 || count < size) samples.push_back({images - 1, size - count, count});
  return samples;
}

void expect_alike(const TrialResult& got, const TrialResult& expected, const TrialLabel& label) {
  // Shares of the norm and of the kept fields.
  const double most = label.precision == Precision::fp32 ? 1e-3 : 2e-2;
  constexpr double kMostKept = 3e-2;

  const double difference = relative_difference(got.values, expected.values);
  const double kept = different_fields(got.kept, expected.kept);
  if (difference <= most && kept <= kMostKept) return;  // Never with a NaN.
  throw WrongResult(fmt::format(
      "{} gives a wrong result for {}: image {} differs by {:.2g} of its norm, its masks and pool "
      "indices by {:.2g}",
      label.kernel, label.problem, label.image, difference, kept));
}

template <class T>
std::vector<float> to_floats(const std::vector<T>& values) {
  std::vector<float> floats(values.size());
  parallel_tiles(1, static_cast<int>(values.size()), kPiece, [&](int, int begin, int end) {
    for (int i = begin; i < end; ++i) floats[i] = kernels::to_float(values[i]);
  });
  return floats;
}
template std::vector<float> to_floats(const std::vector<float>&);
template std::vector<float> to_floats(const std::vector<kernels::Half>&);
template std::vector<float> to_floats(const std::vector<kernels::Bfloat16>&);

void append_fields(std::vector<std::uint8_t>& fields, const std::vector<std::uint32_t>& words, int bits) {
  fields.reserve(fields.size() + words.size() * kBitsPerWord / bits);
  for (const std::uint32_t word : words)
    for (int at = 0; at < kBitsPerWord; at += bits)
      fields.push_back(static_cast<std::uint8_t>(word >> at & ((1u << bits) - 1)));
}

}  // namespace filterscope::cuda
