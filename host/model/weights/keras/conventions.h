#pragma once

#include <hdf5.h>

#include <string>

#include "hdf5_file.h"

namespace filterscope::weights_formats {

/// How a Keras file stores its kernels.
struct KerasConventions {
  bool rotated = false;      ///< All kernels are rotated by 180 degrees.
  bool may_be_oihw = false;  ///< The file says enough to read kernels in the order [out, in, 3, 3].
  std::string source;        ///< What says so, as in "the file's backend is theano"; empty if nothing does.
};

/// By the attributes `backend` and `keras_version` and the file's name. `weights` is the group whose
/// attributes Keras' own loader reads; the root may repeat them. Contradictions, and backends and versions
/// whose conventions are not known are Errors.
KerasConventions read_conventions(const Hdf5File& file, hid_t weights, const std::string& weights_path);

}  // namespace filterscope::weights_formats
