#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../engine.h"
#include "../error.h"

namespace filterscope::cuda {

/// A kernel that does not compute its problem.
class WrongResult : public Error {
 public:
  explicit WrongResult(const std::string& message) : Error(ErrorKind::device, message) {}
};

/// What a kernel has made of one image, on the host.
struct TrialResult {
  std::vector<float> values;
  std::vector<std::uint8_t> kept;  ///< For the way back: fields of masks and of a pool's winners.
};

struct Tried {
  std::string_view kernel;
  std::string_view problem;
  Precision precision;
  int image = 0;
};

/// Throws WrongResult, a message that names `tried`, where `got` differs from `expected` by more than
/// roundings explain: 2 % of the norm of the values, 0.1 % in fp32, or 3 % of the fields that are kept.
void expect_alike(const TrialResult& got, const TrialResult& expected, const Tried& tried);

/// Of float, Half or Bfloat16; by all processors, since it is done for every kernel that is tried.
template <class T>
std::vector<float> to_floats(const std::vector<T>& values);

/// Appends the fields of `bits` bits that `words` are made of, the lowest first.
void append_fields(std::vector<std::uint8_t>& fields, const std::vector<std::uint32_t>& words, int bits);

}  // namespace filterscope::cuda
