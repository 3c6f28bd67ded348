#pragma once

namespace filterscope::kernels {

/// The map from an image to the network's input: input[c] = scale[c] * image[source[c]] + offset[c]. A
/// convolution's zero padding is zero in the input, not in the image.
struct InputMap {
  int source[3] = {0, 1, 2};
  float scale[3] = {1, 1, 1};
  float offset[3] = {0, 0, 0};
};

}  // namespace filterscope::kernels
