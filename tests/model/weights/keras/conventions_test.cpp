#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../fixtures.h"
#include "hdf5_writer.h"
#include "host/model/weights/weights.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<int> kOihw{3, 2, 0, 1};

class KerasConventions : public KerasFiles {};

TEST_F(KerasConventions, TheanosKernelsAreRotated) {
  const auto load = [&](bool variable, const std::string& parent, const std::string& holder) {
    Hdf5Writer file(path("w.h5"));
    KerasNetwork{.parent = parent, .rotated = true}.write(file);
    file.text(holder, "backend", "theano", variable);
    file.text(holder, "keras_version", "2.2.4", variable);
    return load_weights(file.close(), tiny());
  };
  for (const bool variable : {false, true}) {
    for (const auto& [parent, holder] :
         {std::pair("", "/"), {"/model_weights", "/model_weights"}, {"/model_weights", "/"}}) {
      const Weights weights = load(variable, parent, holder);
      expect_tiny(weights);
      EXPECT_THAT(weights.conversions,
                  ElementsAre("kernels rotated by 180 degrees, since the file's backend is theano"));
      EXPECT_EQ(weights.natural_input, keras_mapping());
    }
  }
}

TEST_F(KerasConventions, OtherBackends) {
  for (const char* backend : {"", "tensorflow", "cntk", "mxnet", "plaidml", "plaidml.keras.backend", "jax",
                              "torch", "numpy", "openvino"}) {
    const Weights weights = load_weights(made({}, backend, "2.3.1"), tiny());
    expect_tiny(weights);
    EXPECT_THAT(weights.conversions, IsEmpty()) << backend;
  }
  EXPECT_THAT(load_error(made({}, "abacus", "2.3.1")),
              AllOf(HasSubstr("attribute backend"), HasSubstr("found abacus")));
  Hdf5Writer file(path("w.h5"));
  KerasNetwork{.parent = "/model_weights"}.write(file);
  file.text("/model_weights", "backend", "theano");
  file.text("/", "backend", "tensorflow");
  EXPECT_THAT(load_error(file.close()), HasSubstr("/model_weights says theano and / says tensorflow"));
}

TEST_F(KerasConventions, KerasVersions) {
  for (const char* version : {"0.3.3", "1.2.2", "2.0.0", "2.2.4-tf", "2.15.0", "3.11.2", "1"})
    expect_tiny(load_weights(made({}, "tensorflow", version), tiny()));
  for (const char* version : {"4.0.0", "12.1", "two", "7"})
    EXPECT_THAT(load_error(made({}, "tensorflow", version)),
                AllOf(HasSubstr("keras_version: expected 0 to 3"), HasSubstr(version)));
}

// Files of Keras 1, such as vgg16_weights_th_dim_ordering_th_kernels_notop.h5.
TEST_F(KerasConventions, NamesOfKeras1) {
  const char* const rotated = "kernels rotated by 180 degrees, since the file's name says th_kernels";
  const char* const transposed = "kernels transposed from [out, in, 3, 3]";
  const auto load = [&](const KerasNetwork& network, const std::string& name) {
    const Weights weights = load_weights(made(network, "", "", name), tiny());
    expect_tiny(weights);
    return weights.conversions;
  };
  EXPECT_THAT(load({.order = kOihw, .rotated = true}, "w_th_dim_ordering_th_kernels_notop.h5"),
              ElementsAre(transposed, rotated));
  EXPECT_THAT(load({.order = kOihw}, "w_th_dim_ordering_tf_kernels.h5"), ElementsAre(transposed));
  EXPECT_THAT(load({.rotated = true}, "w_tf_dim_ordering_th_kernels.h5"), ElementsAre(rotated));
  EXPECT_THAT(load({}, "w_tf_dim_ordering_tf_kernels.h5"), IsEmpty());
  EXPECT_THAT(load_error(made({}, "theano", "2.0.0", "w_tf_kernels.h5")),
              HasSubstr("its name says tf_kernels"));
}

// The convention may be in the name of a link, or in that of the file it leads to.
TEST_F(KerasConventions, NamesOfLinks) {
  const fs::path file = made({.rotated = true}, "", "", "w_th_kernels.h5");
  fs::create_symlink(file, path("vgg16.h5"));
  expect_tiny(load_weights(path("vgg16.h5"), tiny()));
  fs::create_symlink(made({.rotated = true}, "", "", "blob"), path("link_th_kernels.h5"));
  expect_tiny(load_weights(path("link_th_kernels.h5"), tiny()));
  fs::create_symlink(file, path("w_tf_kernels.h5"));
  EXPECT_THAT(load_error(path("w_tf_kernels.h5")),
              AllOf(HasSubstr("w_tf_kernels.h5 and that of the file it links to, w_th_kernels.h5"),
                    HasSubstr("give the file itself")));
}

TEST_F(KerasConventions, OrdersOfDimensions) {
  const KerasNetwork theano{.order = kOihw, .rotated = true};
  EXPECT_THAT(
      load_error(made(theano, "", "")),
      AllOf(HasSubstr("layer block1_conv1"), HasSubstr("found float32 [4, 3, 3, 3]"),
            HasSubstr("the order of Theano and PyTorch, and nothing says whether the kernels are rotated"),
            HasSubstr("weights/fetch.sh")));
  // Since Keras 2 there is only one order, except in MXNet's fork.
  EXPECT_THAT(load_error(made(theano, "theano", "2.2.4")),
              AllOf(HasSubstr("in which Keras does not store kernels (the file's backend is theano)"),
                    HasSubstr("transpose them to [3, 3, in, out]")));
  EXPECT_THAT(load_error(made(theano, "", "2.2.4", "w_th_kernels.h5")), HasSubstr("the order of Theano"));
  const Weights weights = load_weights(made({.order = kOihw}, "mxnet", "2.2.4"), tiny());
  expect_tiny(weights);
  EXPECT_THAT(weights.conversions, ElementsAre("kernels transposed from [out, in, 3, 3]"));

  Hdf5Writer file(path("mixed_th_kernels.h5"));
  KerasNetwork{.order = kOihw, .layers = 1}.write(file);
  file.group("/block1_conv2");
  file.names("/block1_conv2", "weight_names", {"kernel:0"});
  file.floats("/block1_conv2/kernel:0", {3, 3, 4, 5}, std::vector<float>(180));
  H5Adelete_by_name(file.id(), "/", "layer_names", H5P_DEFAULT);
  file.names("/", "layer_names", {"block1_conv1", "block1_conv2"});
  EXPECT_THAT(load_error(file.close()),
              HasSubstr("expected the order of dimensions of the kernels before it"));
}

}  // namespace
}  // namespace filterscope
