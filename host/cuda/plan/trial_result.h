#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../../base/error.h"
#include "../../run/precision.h"
#include "../runtime.h"

namespace filterscope::cuda {

/// A kernel gave a wrong result.
class WrongResult : public Error {
 public:
  explicit WrongResult(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// Part of a kernel's result for one image, on the host.
struct TrialResult {
  std::vector<float> values;
  std::vector<std::uint8_t> kept;  ///< Masks and pool indices that fprop keeps, one field each.
};

/// A part of a result to compare.
struct Sample {
  int image = 0;
  std::size_t first = 0;  ///< Element of the image's result; a multiple of 32 if the size is.
  std::size_t count = 0;
};
/// Samples of the results of `images` images with `size` elements each: the first and the last image, or if
/// they have more than 2^24 elements, the beginning of the first and the end of the last.
std::vector<Sample> samples_of(int images, std::size_t size);

/// The sample's part, on the host, of an array with one T for every `elements` elements of the results.
template <class T>
std::vector<T> read_sample(const T* results, const Sample& sample, std::size_t size,
                           std::size_t elements = 1) {
  return to_host(results + (size * sample.image + sample.first) / elements, sample.count / elements);
}

/// Describes a result in messages.
struct TrialLabel {
  std::string_view kernel;
  std::string_view problem;
  Precision precision;
  int image = 0;
};

/// Throws WrongResult, with a message that names `label`, if `got` differs from `expected` by more than
/// rounding explains: 2 % of the norm of the values (0.1 % in fp32) or 3 % of the kept fields.
void expect_alike(const TrialResult& got, const TrialResult& expected, const TrialLabel& label);

/// T is float, Half or Bfloat16. Uses all processors, since it is done for every kernel that is tried.
template <class T>
std::vector<float> to_floats(const std::vector<T>& values);

/// Appends the fields of `bits` bits of `words`, the lowest first.
void append_fields(std::vector<std::uint8_t>& fields, const std::vector<std::uint32_t>& words, int bits);

}  // namespace filterscope::cuda
