#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "fixtures.h"
#include "hdf5_file.h"
#include "host/ascent/recipe.h"
#include "host/model/weights/weights.h"

// What Keras' HDF5 files say of themselves, in files that the tests make.

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<int> kOihw{3, 2, 0, 1};
const std::vector<int> kOhwi{3, 0, 1, 2};

class Conventions : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_ / name; }
  void expect_tiny(const Weights& weights) const {
    for (int layer = 0; layer < 3; ++layer) expect_layer(weights, layer);
  }
  /// The network with attributes of the group that holds it.
  fs::path made(const KerasNetwork& network, const std::string& backend, const std::string& version,
                const std::string& name = "w.h5") const {
    Hdf5File file(path(name));
    network.write(file);
    const std::string group = network.parent.empty() ? "/" : network.parent;
    if (!backend.empty()) file.text(group, "backend", backend);
    if (!version.empty()) file.text(group, "keras_version", version);
    return file.close();
  }
  TemporaryFolder folder_;
};

TEST_F(Conventions, TheanosKernelsAreRotated) {
  const auto load = [&](bool variable, const std::string& parent, const std::string& holder) {
    Hdf5File file(path("w.h5"));
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

TEST_F(Conventions, OtherBackends) {
  for (const char* backend : {"", "tensorflow", "cntk", "mxnet", "plaidml", "plaidml.keras.backend", "jax",
                              "torch", "numpy", "openvino"}) {
    const Weights weights = load_weights(made({}, backend, "2.3.1"), tiny());
    expect_tiny(weights);
    EXPECT_THAT(weights.conversions, IsEmpty()) << backend;
  }
  EXPECT_THAT(load_error(made({}, "abacus", "2.3.1")),
              AllOf(HasSubstr("attribute backend"), HasSubstr("found abacus")));
  Hdf5File file(path("w.h5"));
  KerasNetwork{.parent = "/model_weights"}.write(file);
  file.text("/model_weights", "backend", "theano");
  file.text("/", "backend", "tensorflow");
  EXPECT_THAT(load_error(file.close()), HasSubstr("/model_weights says theano and / says tensorflow"));
}

TEST_F(Conventions, KerasVersions) {
  for (const char* version : {"0.3.3", "1.2.2", "2.0.0", "2.2.4-tf", "2.15.0", "3.11.2", "1"})
    expect_tiny(load_weights(made({}, "tensorflow", version), tiny()));
  for (const char* version : {"4.0.0", "12.1", "two", "7"})
    EXPECT_THAT(load_error(made({}, "tensorflow", version)),
                AllOf(HasSubstr("keras_version: expected 0 to 3"), HasSubstr(version)));
}

// vgg16_weights_th_dim_ordering_th_kernels_notop.h5 and its kin, of Keras 1.
TEST_F(Conventions, NamesOfKeras1) {
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

// A link may say less than the file that it leads to, and a copy more.
TEST_F(Conventions, NamesOfLinks) {
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

TEST_F(Conventions, OrdersOfDimensions) {
  const KerasNetwork theano{.order = kOihw, .rotated = true};
  EXPECT_THAT(
      load_error(made(theano, "", "")),
      AllOf(HasSubstr("layer block1_conv1"), HasSubstr("found float32 [4, 3, 3, 3]"),
            HasSubstr("the order of Theano and PyTorch, and nothing tells whether the kernels are rotated"),
            HasSubstr("weights/fetch.sh")));
  // Since Keras 2 the order is one, but for MXNet's fork.
  EXPECT_THAT(load_error(made(theano, "theano", "2.2.4")),
              AllOf(HasSubstr("in which Keras does not keep kernels (the file's backend is theano)"),
                    HasSubstr("transpose them to [3, 3, in, out]")));
  EXPECT_THAT(load_error(made(theano, "", "2.2.4", "w_th_kernels.h5")), HasSubstr("the order of Theano"));
  const Weights weights = load_weights(made({.order = kOihw}, "mxnet", "2.2.4"), tiny());
  expect_tiny(weights);
  EXPECT_THAT(weights.conversions, ElementsAre("kernels transposed from [out, in, 3, 3]"));

  Hdf5File file(path("mixed_th_kernels.h5"));
  KerasNetwork{.order = kOihw, .layers = 1}.write(file);
  file.group("/block1_conv2");
  file.names("/block1_conv2", "weight_names", {"kernel:0"});
  file.floats("/block1_conv2/kernel:0", {3, 3, 4, 5}, std::vector<float>(180));
  H5Adelete_by_name(file.id(), "/", "layer_names", H5P_DEFAULT);
  file.names("/", "layer_names", {"block1_conv1", "block1_conv2"});
  EXPECT_THAT(load_error(file.close()),
              HasSubstr("expected the order of dimensions of the kernels before it"));
}

TEST_F(Conventions, LayersAmongTheConvolutions) {
  const auto load = [&](const std::vector<std::pair<int, std::string>>& others, const std::string& with,
                        const std::vector<hsize_t>& shape) {
    Hdf5File file(path("w.h5"));
    KerasNetwork{}.write(file, others);
    for (const auto& [before, name] : others) {
      file.group("/" + name);
      file.names("/" + name, "weight_names", with.empty() ? std::vector<std::string>{} : std::vector{with});
      if (!with.empty()) file.floats("/" + name + "/" + with, shape, std::vector<float>(16));
    }
    return load_weights(file.close(), tiny());
  };
  EXPECT_THAT(error_of([&] {
                load({{1, "bn1"}}, "bn1/gamma:0", {4});
              }),
              HasSubstr("holds /bn1/bn1/gamma:0 among the convolutions of tiny, which has no such layer"));
  EXPECT_THAT(error_of([&] {
                load({{2, "average_pooling2d_7"}}, "", {});
              }),
              HasSubstr("/average_pooling2d_7"));
  expect_tiny(load({{1, "fc"}}, "fc/kernel:0", {4, 4}));  // Another branch's.
  expect_tiny(load({{1, "block1_pool"}}, "", {}));
  expect_tiny(load({{3, "batch_normalization"}}, "gamma:0", {4}));
  const Weights weights = load({{0, "rescaling_1"}}, "", {});
  expect_tiny(weights);
  EXPECT_EQ(weights.natural_input, std::nullopt);
  EXPECT_THAT(weights.notes,
              ElementsAre("without what its images pass through before block1_conv1: rescaling_1"));
  EXPECT_THAT(load({{0, "normalization"}}, "mean:0", {3}).notes, ElementsAre(HasSubstr(": normalization")));
}

// A network that is a layer of another model is one group, whose weights that are not trained come last.
TEST_F(Conventions, NormalisationsInAnInnerNetwork) {
  struct Weight {
    std::string name;
    std::vector<hsize_t> shape;
  };
  const auto load = [&](const std::vector<Weight>& before, const std::vector<Weight>& after) {
    Hdf5File file(path("w.h5"));
    KerasNetwork{}.write(file);
    file.group("/vgg16");
    std::vector<std::string> names;
    const auto add = [&](const Weight& weight) {
      names.push_back(weight.name);
      file.floats("/vgg16/" + weight.name, weight.shape, std::vector<float>(64));
    };
    for (const Weight& weight : before) add(weight);
    for (const Convolution& convolution : tiny().convolutions) {
      H5Lmove(file.id(), ("/" + convolution.name + "/" + convolution.name).c_str(), file.id(),
              ("/vgg16/" + convolution.name).c_str(), H5P_DEFAULT, H5P_DEFAULT);
      for (const char* part : {"/kernel:0", "/bias:0"}) names.push_back(convolution.name + part);
    }
    for (const Weight& weight : after) add(weight);
    file.names("/vgg16", "weight_names", names);
    H5Adelete_by_name(file.id(), "/", "layer_names", H5P_DEFAULT);
    file.names("/", "layer_names", {"vgg16"});
    return load_weights(file.close(), tiny());
  };
  const auto refusal = [&](const auto& before, const auto& after) {
    return error_of([&] { load(before, after); });
  };
  const Weight dense{"fc/kernel:0", {3, 4}};
  const Weight gamma{"bn/gamma:0", {4}};
  const Weight mean{"bn/moving_mean:0", {4}};
  expect_tiny(load({}, {dense, gamma, mean}));
  expect_tiny(load({dense, gamma}, {mean}));  // The convolutions are not trained.
  EXPECT_THAT(refusal(std::vector<Weight>{}, std::vector{gamma, mean}),
              AllOf(HasSubstr("holds /vgg16/bn/gamma:0 beside the convolutions"), HasSubstr("config.json")));
  EXPECT_THAT(refusal(std::vector{dense, gamma}, std::vector{mean, Weight{"bn2/moving_mean:0", {4}}}),
              HasSubstr("/vgg16/bn/gamma:0"));
  // After the last convolution, and its pool.
  expect_tiny(load({}, {{"bn/gamma:0", {2}}, {"bn/moving_mean:0", {2}}}));
  EXPECT_THAT(refusal(std::vector<Weight>{}, std::vector{Weight{"bn/moving_mean:0", {2}}}),
              HasSubstr("/vgg16/bn/moving_mean:0"));
  // Images pass through it, and through nothing else of its kind.
  EXPECT_THAT(load({}, {{"normalization/mean:0", {3}}}).notes,
              ElementsAre(HasSubstr("may pass through before block1_conv1: normalization")));
}

TEST_F(Conventions, FurtherBlocks) {
  Hdf5File file(path("w.h5"));
  KerasNetwork{}.write(file, {{3, "block6_conv1"}});
  file.group("/block6_conv1");
  file.names("/block6_conv1", "weight_names", {"block6_conv1/kernel:0"});
  file.floats("/block6_conv1/block6_conv1/kernel:0", {3, 3, 2, 2}, std::vector<float>(36));
  expect_tiny(load_weights(file.close(), tiny()));
}

// The wrappers of pruning, quantisation and spectral normalisation keep the layer's own weights beside
// others.
TEST_F(Conventions, WeightsThatAConvolutionLacks) {
  const auto load = [&](const std::string& group, const std::string& extra) {
    Hdf5File file(path("w.h5"));
    file.group("/" + group);
    file.names("/" + group, "weight_names", {"block1_conv1/kernel:0", "block1_conv1/bias:0", extra});
    file.floats("/" + group + "/block1_conv1/kernel:0", {3, 3, 3, 4}, std::vector<float>(108));
    for (const std::string& name : {std::string("block1_conv1/bias:0"), extra})
      file.floats("/" + group + "/" + name, {4}, std::vector<float>(4));
    file.names("/", "layer_names", {group});
    return load_error(file.close());
  };
  EXPECT_THAT(
      load("block1_conv1", "block1_conv1/g:0"),
      AllOf(HasSubstr("layer block1_conv1"), HasSubstr("block1_conv1/g:0, which a Conv2D does not have")));
  EXPECT_THAT(load("block1_conv1", "block1_conv1/kernel_min:0"), HasSubstr("kernel_min:0, which a Conv2D"));
  EXPECT_THAT(load("quant_block1_conv1", "quant_block1_conv1/kernel_min:0"),
              HasSubstr("in a layer around the convolutions"));
  EXPECT_THAT(load("vgg16", "bn1/moving_mean:0"), HasSubstr("bn1/moving_mean:0 beside the convolutions"));
}

TEST_F(Conventions, Keras0) {
  Hdf5File file(path("w.h5"));
  file.text("/", "nb_layers", "37");
  EXPECT_THAT(load_error(file.close()), AllOf(HasSubstr("Keras 0's weights"), HasSubstr("weights/fetch.sh")));
}

/// A group of Keras 3: a kernel of that layer unless `kernel` is empty.
void keras3_layer(Hdf5File& file, const std::string& folder, const std::string& name, int layer) {
  const std::string group = "/layers/" + folder + "/vars";
  file.group(group);
  if (!name.empty()) file.text(group, "name", name);
  if (layer < 0) return;
  const KerasNetwork network;
  const Convolution& convolution = tiny().convolutions[layer];
  file.floats(group + "/0", network.shape(convolution), network.kernel(layer));
  file.floats(group + "/1", {static_cast<hsize_t>(convolution.out_channels)},
              made_values(layer, 70, static_cast<std::size_t>(convolution.out_channels)));
}

TEST_F(Conventions, LayersOfKeras3) {
  const auto load = [&](const std::string& second, bool named, const std::string& other, hsize_t channels) {
    Hdf5File file(path("w.weights.h5"));
    keras3_layer(file, "conv2d", named ? "block1_conv1" : "", 0);
    keras3_layer(file, second, named ? "block1_conv2" : "", 1);
    keras3_layer(file, "conv2d_2", named ? "block2_conv1" : "", 2);
    if (!other.empty()) keras3_layer(file, other, "", -1);
    if (channels > 0)
      file.floats("/layers/" + other + "/vars/0", {channels}, std::vector<float>(channels, 1.f));
    return load_weights(file.close(), tiny());
  };
  const auto refusal = [&](auto... arguments) { return error_of([&] { load(arguments...); }); };
  for (const bool named : {false, true}) {
    expect_tiny(load("conv2d_1", named, "", 0));
    EXPECT_THAT(refusal("conv2d_1", named, "batch_normalization", 5),
                HasSubstr("/layers/batch_normalization/vars"));
    expect_tiny(load("conv2d_1", named, "batch_normalization", 33));  // The classifier's.
    EXPECT_THAT(refusal("conv2d_1", named, "leaky_re_lu_1", 0), HasSubstr("may stand between them"));
    EXPECT_THAT(refusal("conv2d_1", named, "average_pooling2d", 0), HasSubstr("may stand between them"));
    const Weights weights = load("conv2d_1", named, "rescaling", 0);
    EXPECT_THAT(weights.notes, ElementsAre(HasSubstr("before block1_conv1: rescaling")));
    EXPECT_EQ(weights.natural_input, std::nullopt);
  }
  EXPECT_THAT(refusal("conv2d_transpose", true, "", 0),
              HasSubstr("layer block1_conv2: expected a Conv2D, found /layers/conv2d_transpose/vars"));
  EXPECT_THAT(refusal("conv2d_1", false, "conv2d_transpose", 3), HasSubstr("may stand between them"));
  expect_tiny(load("conv2d_1", true, "conv2d_transpose", 3));

  EXPECT_THAT(error_of([&] {
                Hdf5File file(path("w.weights.h5"));
                keras3_layer(file, "conv2d", "block1_conv1", 0);
                keras3_layer(file, "rescaling", "", -1);
                keras3_layer(file, "rescaling_1", "", -1);
                load_weights(file.close(), tiny());
              }),
              HasSubstr("/layers/rescaling/vars"));
  const auto rescaled_elsewhere = [&] {
    Hdf5File other(path("w.weights.h5"));
    keras3_layer(other, "conv2d", "block1_conv1", 0);
    for (const char* folder : {"rescaling", "rescaling_1"})
      keras3_layer(other, fmt::format("functional/layers/{}", folder), "", -1);
    return load_weights(other.close(), tiny());
  };
  EXPECT_THAT(rescaled_elsewhere().notes,
              ElementsAre(HasSubstr("may pass through before block1_conv1: rescaling, rescaling_1")));

  Hdf5File file(path("w.weights.h5"));
  keras3_layer(file, "conv2d", "block1_conv1", 0);
  file.floats("/layers/conv2d/vars/2", {4}, std::vector<float>(4));
  EXPECT_THAT(load_error(file.close()), HasSubstr("expected a kernel 0 and a bias 1, found more"));
}

TEST_F(Conventions, ConvolutionsOfKeras3WithOtherNames) {
  const auto load = [&](const std::vector<std::string>& names) {
    Hdf5File file(path("w.weights.h5"));
    for (int layer = 0; layer < static_cast<int>(names.size()); ++layer)
      keras3_layer(file, layer == 0 ? "conv2d" : fmt::format("conv2d_{}", layer), names[layer], layer);
    return load_weights(file.close(), tiny());
  };
  expect_tiny(load({"", "", ""}));
  expect_tiny(load({"conv2d_3", "conv2d_4", "conv2d_5"}));
  for (const auto& names :
       std::vector<std::vector<std::string>>{{""}, {"", ""}, {"conv2d_3"}, {"c1", "c2"}}) {
    EXPECT_THAT(error_of([&] { load(names); }),
                AllOf(HasSubstr(fmt::format("holds {} convolution", names.size())),
                      HasSubstr("without a name of tiny's, such as block1_conv1; only all 3")));
  }
  expect_layer(load({"block1_conv1"}), 0);
}

// What may stand between the convolutions stands elsewhere if as many layers call for it.
TEST_F(Conventions, HeadsOfKeras3) {
  using Shape = std::vector<hsize_t>;
  const auto refusal = [&](const std::vector<std::pair<std::string, Shape>>& head) -> std::string {
    Hdf5File file(path("w.weights.h5"));
    for (int layer = 0; layer < 3; ++layer)
      keras3_layer(file, layer == 0 ? "conv2d" : fmt::format("conv2d_{}", layer),
                   tiny().convolutions[layer].name, layer);
    for (const auto& [folder, shape] : head) {
      keras3_layer(file, folder, folder == "conv2d_3" ? "block6_conv1" : "", -1);
      if (!shape.empty()) file.floats("/layers/" + folder + "/vars/0", shape, std::vector<float>(100));
    }
    try {
      expect_tiny(load_weights(file.close(), tiny()));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const char* norm : {"batch_normalization", "layer_normalization"}) {
    EXPECT_EQ(refusal({{norm, {5}}, {"dense", {9, 5}}}), "");
    EXPECT_EQ(refusal({{norm, {2}}, {"global_average_pooling2d", {}}}), "");
    EXPECT_EQ(refusal({{norm, {5}}, {"conv2d_3", {3, 3, 2, 5}}}), "");
    EXPECT_EQ(refusal({{norm, {5}}, {"conv2d_transpose", {2, 2, 5, 2}}}), "");
    const auto is_refused = AllOf(HasSubstr(fmt::format("holds /layers/{}/vars", norm)),
                                  HasSubstr("may stand between them"), HasSubstr("as .keras"));
    EXPECT_THAT(refusal({{norm, {5}}, {"dense", {5, 9}}}), is_refused);
    EXPECT_THAT(refusal({{norm, {4}}, {"global_average_pooling2d", {}}}), is_refused);
    EXPECT_THAT(refusal({{norm, {5}}, {std::string(norm) + "_1", {5}}, {"dense", {9, 5}}}), is_refused);
  }
  for (const char* activation : {"leaky_re_lu", "elu", "p_re_lu"}) {
    EXPECT_EQ(refusal({{activation, {}}, {"dense", {9, 9}}}), "");
    EXPECT_THAT(refusal({{activation, {}}}), HasSubstr("may stand between them"));
    EXPECT_THAT(refusal({{activation, {}}, {std::string(activation) + "_1", {}}, {"dense", {9, 9}}}),
                HasSubstr("may stand between them"));
  }
}

hid_t float_type(std::size_t size, std::size_t exponent, std::size_t fraction, std::size_t bias) {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(type, exponent + fraction, fraction, exponent, 0, fraction);
  H5Tset_size(type, size);
  H5Tset_precision(type, 8 * size);
  H5Tset_ebias(type, bias);
  return type;
}

TEST_F(Conventions, Floats) {
  // 1/64ths below 2 need 8 bits of fraction.
  const KerasNetwork tf32{.type = float_type(4, 8, 10, 127)};
  expect_tiny(load_weights(made(tf32, "", ""), tiny()));
  expect_tiny(load_weights(made({.type = H5T_NATIVE_LDOUBLE}, "", ""), tiny()));

  const KerasNetwork bfloat16{.layers = 1, .type = float_type(2, 8, 7, 127)};
  const Weights weights = load_weights(made(bfloat16, "", ""), tiny());
  const std::vector<float> exact = KerasNetwork{}.kernel(0);
  for (std::size_t i = 0; i < exact.size(); ++i)
    EXPECT_NEAR(weights.layers[0]->kernel[i], exact[i], 1 / 256.);

  EXPECT_THAT(load_error(made({.type = float_type(1, 4, 3, 7)}, "", "")), HasSubstr("found float8 (E4M3)"));
  EXPECT_THAT(load_error(made({.type = H5T_STD_I8LE}, "", "")), HasSubstr("found int8 (quantised?)"));
  EXPECT_THAT(load_error(made({.type = H5T_STD_U16LE}, "", "")),
              HasSubstr("found uint16 (the bits of bfloat16?)"));
}

TEST_F(Conventions, OtherTypes) {
  const auto load = [&](hid_t type) {
    Hdf5File file(path("w.h5"));
    file.group("/block1_conv1");
    file.names("/block1_conv1", "weight_names", {"kernel:0"});
    H5Dclose(file.dataset("/block1_conv1/kernel:0", {3, 3, 3, 4}, type));
    file.names("/", "layer_names", {"block1_conv1"});
    return load_error(file.close());
  };
  const hid_t complex = H5Tcreate(H5T_COMPOUND, 8);
  H5Tinsert(complex, "r", 0, H5T_NATIVE_FLOAT);
  H5Tinsert(complex, "i", 4, H5T_NATIVE_FLOAT);
  EXPECT_THAT(load(complex), HasSubstr("found complex64 [3, 3, 3, 4]"));
  EXPECT_THAT(load(H5Tcreate(H5T_OPAQUE, 2)), HasSubstr("found opaque values of 16 bits (bfloat16?)"));
  const hid_t truth = H5Tenum_create(H5T_NATIVE_INT8);
  const std::int8_t one = 1;
  H5Tenum_insert(truth, "TRUE", &one);
  EXPECT_THAT(load(truth), HasSubstr("found an enumeration"));
}

TEST_F(Conventions, BrainFloatsOfKeras3) {
  Hdf5File file(path("w.weights.h5"));
  const std::string vars = "/layers/conv2d/vars";
  file.group(vars);
  file.text(vars, "name", "block1_conv1");
  const hid_t type = H5Tcreate(H5T_OPAQUE, 2);
  for (const auto& [name, shape] :
       {std::pair<std::string, std::vector<hsize_t>>{"/0", {3, 3, 3, 4}}, {"/1", {4}}}) {
    const hid_t set = file.dataset(vars + name, shape, type);
    const std::vector<std::uint16_t> bits(108, 0xC020);  // -2.5
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bits.data());
    H5Dclose(set);
    file.text(vars + name, "dtype", "bfloat16");
  }
  const Weights weights = load_weights(file.close(), tiny());
  EXPECT_EQ(weights.layers[0]->kernel, std::vector<float>(108, -2.5f));
  EXPECT_EQ(weights.layers[0]->bias, std::vector<float>(4, -2.5f));
}

TEST_F(Conventions, MissingFilter) {
  constexpr H5Z_filter_t kLzf = 32000;
  const H5Z_class2_t lzf{.version = H5Z_CLASS_T_VERS,
                         .id = kLzf,
                         .encoder_present = 1,
                         .decoder_present = 1,
                         .name = "lzf",
                         .can_apply = nullptr,
                         .set_local = nullptr,
                         .filter = [](unsigned, std::size_t, const unsigned*, std::size_t bytes, std::size_t*,
                                      void**) { return bytes; }};
  ASSERT_GE(H5Zregister(&lzf), 0);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const std::vector<hsize_t> chunk{1, 1, 1, 1};
  H5Pset_chunk(creation, 4, chunk.data());
  H5Pset_filter(creation, kLzf, H5Z_FLAG_OPTIONAL, 0, nullptr);
  const fs::path file = made({.layers = 1, .creation = creation}, "", "");
  H5Pclose(creation);
  ASSERT_GE(H5Zunregister(kLzf), 0);
  EXPECT_THAT(load_error(file),
              AllOf(HasSubstr("layer block1_conv1: dataset /block1_conv1/block1_conv1/kernel:0"),
                    HasSubstr("HDF5 filter 32000 (lzf)"), HasSubstr("h5repack -f NONE IN OUT"),
                    Not(HasSubstr("damaged"))));
}

TEST_F(Conventions, WrongChecksum) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const std::vector<hsize_t> chunk{3, 3, 3, 4};
  H5Pset_chunk(creation, 4, chunk.data());
  H5Pset_fletcher32(creation);
  const KerasNetwork network{.layers = 1, .creation = creation};
  const fs::path file = made(network, "", "");
  H5Pclose(creation);
  std::string bytes = bytes_of(file);
  const std::vector<float> values = network.kernel(0);
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(values.data()), 64));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 2] = static_cast<char>(bytes[at + 2] ^ 1);
  EXPECT_THAT(load_error(write(folder_, "w.h5", bytes)), AllOf(HasSubstr("checksum"), HasSubstr("damaged")));
}

// HDF5 reads zeros where nothing was written.
TEST_F(Conventions, ValuesThatWereNeverWritten) {
  const auto load = [&](hid_t creation, bool first_chunk) {
    Hdf5File file(path("w.h5"));
    file.group("/block1_conv1");
    file.names("/block1_conv1", "weight_names", {"kernel:0", "bias:0"});
    const hid_t set = file.dataset("/block1_conv1/kernel:0", {3, 3, 3, 4}, H5T_IEEE_F32LE, creation);
    if (first_chunk) {
      const hid_t space = H5Dget_space(set);
      const std::vector<hsize_t> start(4);
      const std::vector<hsize_t> count{1, 3, 3, 4};
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
      const hsize_t size = 36;
      const hid_t memory = H5Screate_simple(1, &size, nullptr);
      H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, std::vector<float>(36, 1.f).data());
      H5Sclose(memory);
      H5Sclose(space);
    }
    H5Dclose(set);
    file.floats("/block1_conv1/bias:0", {4}, std::vector<float>(4));
    file.names("/", "layer_names", {"block1_conv1"});
    return load_error(file.close());
  };
  const hid_t chunked = H5Pcreate(H5P_DATASET_CREATE);
  const std::vector<hsize_t> chunk{1, 3, 3, 4};
  H5Pset_chunk(chunked, 4, chunk.data());
  EXPECT_THAT(load(H5P_DEFAULT, false), HasSubstr("expected values, found none or only some"));
  EXPECT_THAT(load(chunked, false), HasSubstr("expected values, found none or only some"));
#if H5_VERSION_GE(1, 10, 5)
  EXPECT_THAT(load(chunked, true), HasSubstr("expected values, found none or only some"));
#endif
  H5Pclose(chunked);
}

TEST_F(Conventions, VirtualDataset) {
  Hdf5File file(path("w.h5"));
  file.floats("/values", {3, 3, 3, 4}, std::vector<float>(108));
  file.group("/block1_conv1");
  file.names("/block1_conv1", "weight_names", {"kernel:0"});
  const std::vector<hsize_t> shape{3, 3, 3, 4};
  const hid_t space = H5Screate_simple(4, shape.data(), nullptr);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_virtual(creation, space, ".", "/values", space);
  H5Dclose(file.dataset("/block1_conv1/kernel:0", shape, H5T_IEEE_F32LE, creation));
  H5Pclose(creation);
  H5Sclose(space);
  file.names("/", "layer_names", {"block1_conv1"});
  EXPECT_THAT(load_error(file.close()), HasSubstr("found a virtual dataset"));
}

TEST_F(Conventions, UserBlock) {
  for (const hsize_t size : {512, 4096}) {
    Hdf5File file(path("w.h5"), size);
    KerasNetwork{}.write(file);
    expect_tiny(load_weights(file.close(), tiny()));
  }
}

TEST_F(Conventions, NewerHdf5) {
  std::string bytes = bytes_of(made({}, "", ""));
  bytes[8] = 9;  // The version of the superblock.
  EXPECT_THAT(load_error(write(folder_, "w.h5", bytes)),
              HasSubstr("written in a newer format than this program's HDF5"));
}

TEST_F(Conventions, FileThatWasNotClosed) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate(path("open.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  ASSERT_GE(H5Fstart_swmr_write(file), 0);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  const std::string bytes = bytes_of(path("open.h5"));
  H5Fclose(file);
  H5Pclose(access);
  EXPECT_THAT(load_error(write(folder_, "w.h5", bytes)),
              AllOf(HasSubstr("h5clear -s"), Not(HasSubstr("damaged"))));
}

}  // namespace
}  // namespace filterscope
