#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/random_network.h"
#include "tests/support/reference.h"

// Compares the reference with values that PyTorch computed (data/make_golden_ascent.py).
namespace filterscope::reference {
namespace {

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = FILTERSCOPE_TEST_DATA "/golden_ascent.json";
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    golden_ = nlohmann::json::parse(file);
    std::vector<test::LayerShape> shapes;
    for (const auto& layer : golden_["layers"]) {
      shapes.push_back({layer["filters"].get<int>(), layer["pool_after"].get<bool>()});
      weights_.layers.push_back(LayerWeights{.kernel = layer["kernel"].get<std::vector<float>>(),
                                             .bias = layer["bias"].get<std::vector<float>>()});
    }
    network_ = test::make_network(shapes);
    image_ = Map({golden_["height"].get<int>(), golden_["width"].get<int>()}, 3,
                 golden_["image"].get<std::vector<float>>());
  }

  nlohmann::json golden_;
  Network network_;
  Weights weights_;
  Map image_;
};

TEST_F(Golden, LossAndGradientOfEveryLayer) {
  ASSERT_EQ(golden_["gradients"].size(), 8u);
  for (const auto& expected : golden_["gradients"]) {
    const auto& values = expected["mapping"];
    const InputMapping mapping{.name = "golden",
                               .source = values["source"].get<std::array<int, 3>>(),
                               .scale = values["scale"].get<std::array<float, 3>>(),
                               .offset = values["offset"].get<std::array<float, 3>>()};
    const int layer = expected["layer"].get<int>();
    const Gradient actual =
        loss_and_gradient(network_, weights_, mapping, layer, expected["filter"].get<int>(), image_);
    const double loss = expected["loss"].get<double>();
    EXPECT_NEAR(actual.loss, loss, 1e-11 * loss) << "layer " << layer;
    EXPECT_LT(
        test::max_relative_error(actual.gradient.values, expected["gradient"].get<std::vector<double>>()),
        1e-10)
        << "layer " << layer;
  }
}

TEST_F(Golden, Ascent) {
  const auto& expected = golden_["ascent"];
  Recipe recipe;
  recipe.stages[0].optimiser.step = expected["step"].get<float>();
  recipe.stages[0].normalisation.epsilon = expected["epsilon"].get<float>();
  recipe.stages[0].input_mapping = identity_mapping();
  const auto losses = expected["losses"].get<std::vector<double>>();
  const Ascent actual = ascend(network_, weights_, recipe, expected["layer"].get<int>(),
                               expected["filter"].get<int>(), image_, static_cast<int>(losses.size()));
  EXPECT_LT(test::max_relative_error(actual.losses, losses), 1e-10);
  EXPECT_NEAR(actual.final_loss, expected["final_loss"].get<double>(), 1e-10);
  EXPECT_LT(test::max_relative_error(actual.image.values, expected["image"].get<std::vector<double>>()),
            1e-10);
}

}  // namespace
}  // namespace filterscope::reference
