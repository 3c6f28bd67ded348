// A trial accepts all of the project's convolutions and rejects mistakes: on the emulated device, and with
// CUDA also on a real one.
#include "host/cuda/plan/convolution_trial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <ranges>
#include <utility>
#include <vector>

#include "host/cuda/native_convolution.h"
#include "host/cuda/plan/timing.h"
#include "tests/cuda/on_device.h"

namespace filterscope::cuda {
namespace {

// With this cutoff, kernels are launched as few times as possible, since the emulation is slow.
constexpr double kCutoff = 0;

class ConvolutionTrialTest : public OnDevice {};

TEST_F(ConvolutionTrialTest, NoTwoImagesAreAlike) {
  // Map sizes are often powers of two.
  constexpr std::size_t kImage = 64 * 64 * 64;
  const auto expect_different = [](const DeviceBuffer<std::byte>& images) {
    const std::vector<std::byte> bytes = to_host(images.data(), images.size());
    const std::size_t image = bytes.size() / 4;
    for (int one = 1; one < 4; ++one) {
      const auto differ = [&](std::size_t i) { return bytes[i] != bytes[one * image + i]; };
      const auto range = std::views::iota(std::size_t{0}, image);
      EXPECT_GT(std::ranges::count_if(range, differ), static_cast<std::ptrdiff_t>(image / 3)) << one;
    }
  };
  expect_different(random_values(4 * kImage, Precision::fp16));
  expect_different(random_bytes(4 * kImage));
  expect_different(random_bytes(4 * kImage, std::byte{1}));
  for (const std::byte byte : to_host(random_bytes(100, std::byte{1}).data(), 100))
    EXPECT_LE(byte, std::byte{1});
}

TEST(Samples, CoverTheFirstAndTheLastImage) {
  const auto samples_as_lists = [](int images, std::size_t size) {
    std::vector<std::vector<std::size_t>> all;
    for (const Sample& sample : samples_of(images, size))
      all.push_back({static_cast<std::size_t>(sample.image), sample.first, sample.count});
    return all;
  };
  using testing::ElementsAre;
  constexpr std::size_t kMost = 1 << 24;
  EXPECT_THAT(samples_as_lists(1, 64), ElementsAre(ElementsAre(0, 0, 64)));
  EXPECT_THAT(samples_as_lists(7, 64), ElementsAre(ElementsAre(0, 0, 64), ElementsAre(6, 0, 64)));
  EXPECT_THAT(samples_as_lists(1, kMost + 64),
              ElementsAre(ElementsAre(0, 0, kMost), ElementsAre(0, 64, kMost)));
  EXPECT_THAT(samples_as_lists(2, kMost + 64),
              ElementsAre(ElementsAre(0, 0, kMost), ElementsAre(1, 64, kMost)));
}

TEST(TrialResult, IsAlikeUpToRounding) {
  const TrialResult expected{{3, -4, 12}, std::vector<std::uint8_t>(100, 1)};
  const auto of = [&](const TrialResult& got, Precision precision = Precision::fp16) {
    expect_alike(got, expected, {"a kernel", "a problem", precision, 7});
  };
  EXPECT_NO_THROW(of(expected));
  TrialResult got = expected;
  got.values[2] = 12.2f;  // By 1.5 % of the norm.
  EXPECT_NO_THROW(of(got));
  EXPECT_THROW(of(got, Precision::fp32), WrongResult);
  for (int i = 0; i < 3; ++i) got.kept[i] = 0;
  EXPECT_NO_THROW(of(got));
  got.kept[3] = 0;
  EXPECT_THAT([&] { of(got); }, testing::ThrowsMessage<WrongResult>(
                                    "a kernel gives a wrong result for a problem: image 7 differs "
                                    "by 0.015 of its norm, its masks and pool indices by 0.04"));
  got = expected;
  got.values[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(of(got), WrongResult);
}

std::vector<ConvolutionProblem> problems(Precision precision) {
  std::vector<ConvolutionProblem> problems;
  for (const Direction direction : {Direction::fprop, Direction::dgrad}) {
    for (const MaskFormat mask : {MaskFormat::none, MaskFormat::bits, MaskFormat::activation}) {
      for (const bool pooled : {false, true}) {
        if (direction == Direction::fprop && pooled && mask != MaskFormat::none) continue;
        problems.push_back({.images = 2,
                            .height = 2,
                            .width = 4,
                            .in_channels = 64,
                            .out_channels = 64,
                            .precision = precision,
                            .direction = direction,
                            .mask = mask,
                            .pooled = pooled});
      }
    }
  }
  return problems;
}

TEST_F(ConvolutionTrialTest, AcceptsTheProjectsKernels) {
  for (const Precision precision : {Precision::fp32, Precision::fp16}) {
    for (const ConvolutionProblem& problem : problems(precision)) {
      SCOPED_TRACE(to_string(problem));
      ConvolutionProblem without_mask = problem;
      if (problem.mask == MaskFormat::activation) without_mask.mask = MaskFormat::none;
      ConvolutionTrial trial(problem);
      auto variants = native_variants(without_mask);
      EXPECT_FALSE(variants.empty());
      for (auto& variant : variants) {
        if (problem.mask == MaskFormat::activation) variant = with_mask(std::move(variant), problem.mask);
        EXPECT_NO_THROW(trial.milliseconds(*variant, kCutoff)) << variant->name();
      }
    }
  }
}

/// The inner variant with `launch` instead of its own.
class Mistaken final : public ConvolutionVariant {
 public:
  using Launch = std::function<void(ConvolutionVariant&, const ConvolutionArguments&, cudaStream_t)>;
  Mistaken(std::unique_ptr<ConvolutionVariant> inner, Launch launch)
      : inner_(std::move(inner)), problem_(inner_->problem()), launch_(std::move(launch)) {}
  std::string name() const override { return "mistaken"; }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override { return inner_->weight_layout(); }
  BiasType bias_type() const override { return inner_->bias_type(); }
  std::size_t workspace_bytes() const override { return 0; }
  bool needs_map() const override { return inner_->needs_map(); }
  void launch(const ConvolutionArguments& arguments, cudaStream_t stream) override {
    launch_(*inner_, arguments, stream);
  }

 private:
  std::unique_ptr<ConvolutionVariant> inner_;
  ConvolutionProblem problem_;
  Launch launch_;
};

TEST_F(ConvolutionTrialTest, RejectsMistakes) {
  const auto forget_mask = [](ConvolutionVariant& variant, ConvolutionArguments arguments,
                              cudaStream_t stream) {
    arguments.mask_in = nullptr;
    ConvolutionProblem without_mask = variant.problem();
    without_mask.mask = MaskFormat::none;
    native_variants(without_mask).front()->launch(arguments, stream);
  };
  const auto do_nothing = [](ConvolutionVariant&, const ConvolutionArguments&, cudaStream_t) {};
  const auto shift_result = [](ConvolutionVariant& variant, ConvolutionArguments arguments,
                               cudaStream_t stream) {
    // Shifts by a position, but not beyond the end.
    arguments.destination =
        static_cast<std::byte*>(arguments.destination) +
        variant.problem().destination_channels() * storage_bytes(variant.problem().precision);
    ConvolutionProblem fewer = variant.problem();
    --fewer.images;
    native_variants(fewer).front()->launch(arguments, stream);
  };
  const auto leave_mask = [](ConvolutionVariant& variant, ConvolutionArguments arguments,
                             cudaStream_t stream) {
    arguments.mask_out = nullptr;
    variant.launch(arguments, stream);
  };
  // Uses the first image's mask or pool indices for every image.
  const auto forget_images = [](ConvolutionVariant& variant, ConvolutionArguments arguments,
                                cudaStream_t stream) {
    ConvolutionProblem one = variant.problem();
    one.images = 1;
    const std::size_t bytes = storage_bytes(one.precision);
    for (int image = 0; image < variant.problem().images; ++image) {
      native_variants(one).front()->launch(arguments, stream);
      arguments.source = static_cast<const std::byte*>(arguments.source) + one.source_size() * bytes;
      arguments.destination = static_cast<std::byte*>(arguments.destination) + one.destination_size() * bytes;
    }
  };
  const auto refuse = [](const ConvolutionProblem& problem, const Mistaken::Launch& launch) {
    Mistaken variant(std::move(native_variants(problem).front()), launch);
    ConvolutionTrial trial(problem);
    EXPECT_THROW(trial.milliseconds(variant, kCutoff), WrongResult) << to_string(problem);
  };
  for (const Precision precision : {Precision::fp32, Precision::fp16}) {
    for (const ConvolutionProblem& problem : problems(precision)) {
      if (problem.mask == MaskFormat::activation) continue;
      refuse(problem, do_nothing);
      refuse(problem, shift_result);
      const bool bits = problem.mask == MaskFormat::bits;
      if (bits && problem.direction == Direction::dgrad) refuse(problem, forget_mask);
      if (bits && problem.direction == Direction::fprop) refuse(problem, leave_mask);
      if (problem.direction == Direction::dgrad && (bits || problem.pooled)) refuse(problem, forget_images);
    }
  }
}

}  // namespace
}  // namespace filterscope::cuda
