#include "conventions.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "../../../base/text.h"

// Since Keras 2, kernels are [3, 3, in, out]. They belong to correlations, except for the Theano backend,
// which convolves: Keras 2 (not tf.keras) rotates kernels by 180 degrees between the two, according to the
// attribute `backend`, and so does this reader. Keras 1 stored [out, in, 3, 3] for images in Theano's order
// and did not record the backend; its official files name it in their file names. MXNet's fork of Keras 2
// stored [out, in, 3, 3] too, for correlations.

namespace filterscope::weights_formats {

KerasConventions read_conventions(const Hdf5File& file, hid_t weights, const std::string& weights_path) {
  const auto attribute = [&](const char* name) {
    const std::string of_weights = file.string(weights, name, weights_path);
    const std::string of_root = file.string(file.root(), name, "");
    if (!of_weights.empty() && !of_root.empty() && of_weights != of_root) {
      file.fail(fmt::format("attribute {}: {} says {} and / says {}", name, weights_path,
                            printable(of_weights), printable(of_root)));
    }
    return of_weights.empty() ? of_root : of_weights;
  };
  const std::string version = attribute("keras_version");
  if (!version.empty() &&
      (version.size() < 2 ? version != "1" : version[1] != '.' || version[0] < '0' || version[0] > '3')) {
    file.fail(fmt::format(
        "attribute keras_version: expected 0 to 3, found {}, whose conventions this program does not "
        "know",
        printable(version)));
  }
  // A link may have another name than the file.
  std::error_code error;
  const std::string name = file.path().filename().string();
  const std::string target = std::filesystem::canonical(file.path(), error).filename().string();
  const auto says = [&](const char* kernels) {
    return name.find(kernels) != std::string::npos || target.find(kernels) != std::string::npos;
  };
  const bool theano_name = says("th_kernels");
  const bool tensorflow_name = says("tf_kernels");
  if (theano_name && tensorflow_name) {
    file.fail(
        fmt::format("its name {} and that of the file it links to, {}, say both th_kernels and tf_kernels; "
                    "give the file itself",
                    printable(name), printable(target)));
  }
  const std::string backend = attribute("backend");
  if (backend.empty()) {
    // Since Keras 2 there is one order; files of other programs may have any.
    return {.rotated = theano_name,
            .may_be_oihw = (theano_name || tensorflow_name) && (version.empty() || version[0] < '2'),
            .source = theano_name ? "the file's name says th_kernels" : ""};
  }
  constexpr std::array<std::string_view, 9> kCorrelating{
      "tensorflow", "cntk", "mxnet", "plaidml", "plaidml.keras.backend", "jax", "torch", "numpy", "openvino"};
  const bool rotated = backend == "theano";
  if (!rotated && std::ranges::find(kCorrelating, backend) == kCorrelating.end()) {
    file.fail(fmt::format(
        "attribute backend: expected one whose kernels are known (theano, {}), found {}; load the file "
        "in Keras with this backend and save it with another",
        fmt::join(kCorrelating, ", "), printable(backend)));
  }
  if (rotated ? tensorflow_name : theano_name) {
    file.fail(
        fmt::format("its name says {} and its attribute backend {}; rename it if the attribute is right",
                    theano_name ? "th_kernels" : "tf_kernels", printable(backend)));
  }
  return {.rotated = rotated,
          .may_be_oihw = backend == "mxnet",
          .source = fmt::format("the file's backend is {}", printable(backend))};
}

}  // namespace filterscope::weights_formats
