#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../network.h"

namespace filterscope::weights_formats {

/// What a model's configuration, which is the attribute `model_config` of a Keras file or the config.json of
/// a .keras archive, says about the network's convolutions.
struct KerasModel {
  std::string damage;  ///< Why it cannot be read, as in "is not JSON"; empty if it can.
  /// How the model differs from the network, as a sentence without its full stop; empty if it does not.
  std::string difference;
  /// What images pass through before the first convolution, as in "rescaling (Rescaling)".
  std::vector<std::string> before;
  bool described = false;  ///< The model has convolutions of the network.
};

/// `model_config` is Keras' JSON of a Functional or Sequential model, of Keras 1 to 3; of other models
/// nothing is known. Convolutions are recognised by their names or, if none has one of the network's names,
/// by their order if their number is the network's. The model may lack some of them.
KerasModel examine_keras_model(std::string_view model_config, const Network& network);

}  // namespace filterscope::weights_formats
