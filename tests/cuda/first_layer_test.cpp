// The choice of first-layer kernels, and that their trial accepts the project's kernels and rejects mistakes:
// on the emulated device, and with CUDA also on a real one.
#include "host/cuda/first_layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/cuda/on_device.h"

namespace filterscope::cuda {
namespace {

using testing::ElementsAre;

FirstLayerProblem problem(Direction direction, Precision precision, int channels = 64) {
  return {direction, 3, 5, 18, channels, precision};
}

TEST(FirstLayerKernels, TensorCoresWhereSupportedAndTheReferenceLast) {
  for (const Precision precision : {Precision::fp16, Precision::bf16}) {
    EXPECT_THAT(first_layer_kernels(problem(Direction::fprop, precision)), ElementsAre("mma", "direct"));
    EXPECT_THAT(first_layer_kernels(problem(Direction::fprop, precision, 128)), ElementsAre("mma", "direct"));
    EXPECT_THAT(first_layer_kernels(problem(Direction::dgrad, precision)), ElementsAre("mma", "direct"));
    EXPECT_THAT(first_layer_kernels(problem(Direction::dgrad, precision, 128)), ElementsAre("direct"));
  }
  for (const Precision precision : {Precision::fp32, Precision::tf32})
    for (const Direction direction : {Direction::fprop, Direction::dgrad})
      EXPECT_THAT(first_layer_kernels(problem(direction, precision)), ElementsAre("direct"));
  EXPECT_THROW(first_layer_fprop_kernel<float>("mma"), std::invalid_argument);
}

TEST(FirstLayerProblem, HasAUniqueKey) {
  EXPECT_EQ(to_string(problem(Direction::fprop, Precision::fp16)), "first-layer fprop fp16 3x5x18 3->64");
  EXPECT_EQ(to_string(problem(Direction::dgrad, Precision::bf16)), "first-layer dgrad bf16 3x5x18 64->3");
}

class FirstLayerTrialTest : public OnDevice {};

TEST_F(FirstLayerTrialTest, AcceptsTheProjectsKernels) {
  for (const Direction direction : {Direction::fprop, Direction::dgrad}) {
    for (const Precision precision : {Precision::fp32, Precision::fp16, Precision::bf16}) {
      FirstLayerTrial trial(problem(direction, precision));
      for (const std::string& kernel : first_layer_kernels(problem(direction, precision)))
        EXPECT_NO_THROW(trial.milliseconds(kernel)) << to_string(direction) << ' ' << kernel;
    }
  }
}

/// Replaces the tensor-core kernel by `launch`, but not the reference kernel.
class Mistaken final : public FirstLayerTrial {
 public:
  using Launch = std::function<void(Mistaken&)>;
  Mistaken(const FirstLayerProblem& problem, Launch launch)
      : FirstLayerTrial(problem), launch_(std::move(launch)) {}
  void launch(std::string_view kernel, int first, int count) override {
    kernel == "mma" ? launch_(*this) : FirstLayerTrial::launch(kernel, first, count);
  }
  void images(int first, int count) { FirstLayerTrial::launch("mma", first, count); }

 private:
  Launch launch_;
};

TEST_F(FirstLayerTrialTest, RejectsMistakes) {
  for (const Direction direction : {Direction::fprop, Direction::dgrad}) {
    const FirstLayerProblem of = problem(direction, Precision::fp16);
    const auto refuse = [&](const Mistaken::Launch& launch) {
      Mistaken trial(of, launch);
      EXPECT_THROW(trial.milliseconds("mma"), WrongResult) << to_string(of);
      EXPECT_NO_THROW(trial.milliseconds("direct"));
    };
    refuse([](Mistaken&) {});
    refuse([&](Mistaken& trial) { trial.images(0, of.images - 1); });
    refuse([&](Mistaken& trial) { trial.images(1, of.images - 1); });
    Mistaken right(of, [&](Mistaken& trial) {
      for (int image = 0; image < of.images; ++image) trial.images(image, 1);
    });
    EXPECT_NO_THROW(right.milliseconds("mma"));
  }
}

}  // namespace
}  // namespace filterscope::cuda
