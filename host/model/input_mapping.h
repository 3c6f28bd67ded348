#pragma once

#include <array>
#include <string>

namespace filterscope {

/// How the ascent's image becomes the network's input: input[c] = scale[c] * image[source[c]] + offset[c].
struct InputMapping {
  std::string name;
  std::array<int, 3> source{0, 1, 2};
  std::array<float, 3> scale{1, 1, 1};
  std::array<float, 3> offset{0, 0, 0};

  bool operator==(const InputMapping&) const = default;
};

/// The image as it is.
InputMapping identity_mapping();
/// What Keras' VGG16 was trained on, from an RGB image in 0..1: BGR in 0..255 minus the ImageNet mean.
InputMapping keras_mapping();
/// What torchvision's VGG16 was trained on, from an RGB image in 0..1: RGB minus mean over standard
/// deviation.
InputMapping torchvision_mapping();
/// What torchvision's weights IMAGENET1K_FEATURES of VGG16 were trained on: RGB in 0..255 minus the mean.
InputMapping torchvision_features_mapping();

}  // namespace filterscope
