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

/// A kernel that does not compute its problem.
class WrongResult : public Error {
 public:
  explicit WrongResult(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// What a kernel has made of a part of one image, on the host.
struct TrialResult {
  std::vector<float> values;
  std::vector<std::uint8_t> kept;  ///< For the way back: fields of masks and of a pool's argmax.
};

/// A part of a result that is compared.
struct Sample {
  int image = 0;
  std::size_t first = 0;  ///< Element of the image's result; a multiple of 32 if the size is.
  std::size_t count = 0;
};
/// Of the results of `images` images, `size` elements each: the first and the last, or of images larger than
/// 2^24 elements the beginning of the first and the end of the last.
std::vector<Sample> samples_of(int images, std::size_t size);

/// A sample's share of an array that has one T for `elements` elements of the results, on the host.
template <class T>
std::vector<T> read_sample(const T* results, const Sample& sample, std::size_t size,
                           std::size_t elements = 1) {
  return to_host(results + (size * sample.image + sample.first) / elements, sample.count / elements);
}

/// What a result is of, for messages.
struct TrialLabel {
  std::string_view kernel;
  std::string_view problem;
  Precision precision;
  int image = 0;
};

/// Throws WrongResult, a message that names `label`, where `got` differs from `expected` by more than
/// roundings explain: 2 % of the norm of the values, 0.1 % in fp32, or 3 % of the fields that are kept.
void expect_alike(const TrialResult& got, const TrialResult& expected, const TrialLabel& label);

/// Of float, Half or Bfloat16; by all processors, since it is done for every kernel that is tried.
template <class T>
std::vector<float> to_floats(const std::vector<T>& values);

/// Appends the fields of `bits` bits that `words` are made of, the lowest first.
void append_fields(std::vector<std::uint8_t>& fields, const std::vector<std::uint32_t>& words, int bits);

}  // namespace filterscope::cuda
