#pragma once

namespace filterscope::kernels {

/// How an image becomes the network's input: input[c] = scale[c] * image[source[c]] + offset[c]. The zero
/// padding of a convolution is zero in the input, not in the image.
struct InputMap {
  int source[3] = {0, 1, 2};
  float scale[3] = {1, 1, 1};
  float offset[3] = {0, 0, 0};
};

}  // namespace filterscope::kernels
