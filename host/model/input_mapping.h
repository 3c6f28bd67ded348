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

/// Stands, in a recipe, for Weights::natural_input; with_input_of() puts that in its place.
InputMapping auto_mapping();
/// The image unchanged.
InputMapping identity_mapping();
/// From an RGB image in 0..1 to what Keras' VGG16 was trained on: BGR in 0..255 minus the ImageNet mean.
InputMapping keras_mapping();
/// From an RGB image in 0..1 to what torchvision's VGG16 was trained on: RGB minus mean, divided by standard
/// deviation.
InputMapping torchvision_mapping();
/// The same for torchvision's weights IMAGENET1K_FEATURES of VGG16: RGB in 0..255 minus the mean.
InputMapping torchvision_features_mapping();

}  // namespace filterscope
