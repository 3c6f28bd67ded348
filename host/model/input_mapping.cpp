#include "input_mapping.h"

namespace filterscope {

InputMapping auto_mapping() {
  return {.name = "auto"};
}

InputMapping identity_mapping() {
  return {.name = "identity"};
}

InputMapping keras_mapping() {
  return {.name = "bgr-255-minus-mean",
          .source = {2, 1, 0},
          .scale = {255.f, 255.f, 255.f},
          .offset = {-103.939f, -116.779f, -123.68f}};
}

InputMapping torchvision_mapping() {
  return {.name = "rgb-normalised",
          .source = {0, 1, 2},
          .scale = {1 / 0.229f, 1 / 0.224f, 1 / 0.225f},
          .offset = {-0.485f / 0.229f, -0.456f / 0.224f, -0.406f / 0.225f}};
}

InputMapping torchvision_features_mapping() {
  return {.name = "rgb-255-minus-mean",
          .source = {0, 1, 2},
          .scale = {255.f, 255.f, 255.f},
          .offset = {-0.48235f * 255, -0.45882f * 255, -0.40784f * 255}};
}

}  // namespace filterscope
