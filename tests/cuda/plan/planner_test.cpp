// How the planner chooses convolutions, with fake variants, times and clock.
#include "host/cuda/plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/cuda/plan/convolution_trial.h"
#include "host/cuda/runtime.h"
#include "kernels/common/launch.h"
#include "tests/support/random_network.h"

namespace filterscope::cuda {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr Extent kImage{96, 96};

class FakeVariant final : public ConvolutionVariant {
 public:
  FakeVariant(std::string name, const ConvolutionProblem& problem, double setup_seconds = 0,
              int most_images = 1000)
      : name_(std::move(name)), problem_(problem), setup_seconds_(setup_seconds), most_images_(most_images) {}
  std::string name() const override { return name_; }
  const ConvolutionProblem& problem() const override { return problem_; }
  WeightLayout weight_layout() const override { return WeightLayout::krsc; }
  BiasType bias_type() const override { return BiasType::fp32; }
  std::size_t workspace_bytes() const override { return 0; }
  double setup_seconds() const override { return setup_seconds_; }
  bool make_ready() override { return problem_.images <= most_images_; }
  void launch(const ConvolutionArguments&, cudaStream_t) override { FAIL() << "nothing is launched here"; }

 private:
  std::string name_;
  ConvolutionProblem problem_;
  double setup_seconds_;
  int most_images_;
};

// Two libraries: "native" fuses bits and pools; "other" fuses neither, but can also compile.
class PlannerTest : public testing::Test {
 protected:
  ConvolutionSource own() {
    return [](const ConvolutionProblem& problem, PlanSearch, const TimingBudget&) {
      std::vector<std::unique_ptr<ConvolutionVariant>> variants;
      if (problem.mask == MaskFormat::none || problem.mask == MaskFormat::bits)
        variants.push_back(std::make_unique<FakeVariant>("native", problem));
      return variants;
    };
  }
  ConvolutionSource other() {
    return [this](const ConvolutionProblem& problem, PlanSearch search, const TimingBudget& has_time) {
      searches_.push_back(search);
      std::vector<std::unique_ptr<ConvolutionVariant>> variants;
      if (problem.mask != MaskFormat::none || problem.pooled) return variants;
      if (search == PlanSearch::ready_made || search == PlanSearch::compiled) {
        EXPECT_TRUE(has_time());
        now_ += seconds_of_search_;
      }
      variants.push_back(std::make_unique<FakeVariant>("other", problem, 0., most_images_));
      compiled_ |= search == PlanSearch::compiled;
      if (compiled_) variants.push_back(std::make_unique<FakeVariant>("compiled", problem, 2., most_images_));
      return variants;
    };
  }
  Timings timings() {
    Timings timings;
    timings.find = [this](const std::string& key) {
      const auto found = known_.find(key);
      return found == known_.end() ? std::nullopt : std::optional(found->second);
    };
    timings.store = [this](const std::string& key, double milliseconds) { known_[key] = milliseconds; };
    timings.timer = [this](const ConvolutionProblem& problem) -> Timings::Measure {
      if (out_of_memory_) throw OutOfMemory("out of device memory");
      return [this, problem](ConvolutionVariant& variant, double) {
        EXPECT_EQ(variant.problem(), problem);
        now_ += 0.01;
        timed_.push_back(problem);
        if (variant.name() == wrong_) throw WrongResult("wrong");
        if (variant.name() == refused_) throw kernels::LaunchError("refused");
        double passes = 0;
        std::string name = variant.name();
        for (const auto& [suffix, milliseconds] : passes_) {
          const auto at = name.find(suffix);
          if (at == std::string::npos) continue;
          name.erase(at, suffix.size());
          passes += milliseconds;
        }
        return milliseconds_.at(name) + passes;
      };
    };
    timings.first_layer_timer = [this](const FirstLayerProblem& problem) -> Timings::MeasureFirstLayer {
      if (out_of_memory_) throw OutOfMemory("out of device memory");
      return [this, problem](std::string_view kernel, double) {
        now_ += 0.01;
        timed_first_layers_.push_back(problem);
        if (kernel == wrong_) throw WrongResult("wrong");
        if (kernel == refused_) throw kernels::LaunchError("refused");
        return first_layer_milliseconds_.at(problem.direction).at(std::string(kernel));
      };
    };
    timings.now = [this] { return now_; };
    return timings;
  }
  Planner planner(PlanRule rule = PlanRule::timed) {
    return Planner(network_, Precision::fp16, rule, {own(), other()}, timings());
  }
  PlanUse use(std::int64_t iterations) {
    PlanUse use{.iterations = iterations, .stop = stop_.get_token()};
    use.on_notice = [this](const std::string& text) { notices_.push_back(text); };
    return use;
  }

  Network network_ = test::make_network({{64}, {64}, {64, true}, {128}, {64}});
  BatchLayout layout_{{0, 0, 4, 0, 60}};
  std::map<std::string, double> milliseconds_{{"native", 1.4}, {"other", 1}, {"compiled", 0.5}};
  std::map<std::string, double> passes_{{" + mask", 2}, {" + pool", 0.3}};
  std::map<Direction, std::map<std::string, double>> first_layer_milliseconds_{
      {Direction::fprop, {{"mma", 0.2}, {"direct", 0.3}}},
      {Direction::dgrad, {{"mma", 0.2}, {"direct", 0.1}}}};
  double seconds_of_search_ = 0.1;
  int most_images_ = 1000;  // The most that the other library supports.
  double now_ = 100;
  bool compiled_ = false;  // Whether compiled kernels are known.
  bool out_of_memory_ = false;
  std::string wrong_;    // A variant that gives wrong results.
  std::string refused_;  // One that cannot be launched.
  std::map<std::string, double> known_;
  std::vector<ConvolutionProblem> timed_;
  std::vector<FirstLayerProblem> timed_first_layers_;
  std::vector<PlanSearch> searches_;
  std::vector<std::string> notices_;
  std::stop_source stop_;
};

constexpr std::int64_t kLong = 1'000'000'000;

TEST(TimedProblem, IsSharedByProblemsOfSimilarSizeAndNeverLarger) {
  const auto images = [](int count, int size, int channels) {
    return timed_problem({count, size, size, channels, channels, Precision::fp16}).images;
  };
  const std::vector<std::pair<int, int>> expected{{1, 1}, {2, 2},  {3, 3},   {4, 4},   {5, 4},   {6, 6},
                                                  {7, 6}, {11, 8}, {12, 12}, {15, 12}, {16, 16}, {100, 96}};
  for (const auto& [count, timed] : expected) EXPECT_EQ(images(count, 12, 512), timed) << count;
  // One launch is at most 1 TFLOP.
  EXPECT_EQ(images(2048, 96, 64), 1024);
  EXPECT_EQ(images(3000, 12, 512), 1024);
  EXPECT_EQ(images(1, 4000, 512), 1);
}

TEST_F(PlannerTest, TakesTheFastestPairOfFpropAndDgrad) {
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  // With the mask that the dgrad reads, 1.4 + 1.4 ms against 0.5 + 2.5.
  EXPECT_EQ(plan.layers[1].fprop->name(), "native");
  EXPECT_EQ(plan.layers[1].mask, MaskFormat::bits);
  EXPECT_EQ(plan.layers[2].dgrad->name(), "native");
  // The dgrad applies no mask after a pool or after the first layer.
  EXPECT_EQ(plan.layers[0].mask, MaskFormat::bits);
  EXPECT_EQ(plan.layers[1].dgrad->name(), "compiled");
  EXPECT_EQ(plan.layers[2].fprop->name(), "compiled + pool");
  EXPECT_EQ(plan.layers[3].dgrad->name(), "compiled");
  EXPECT_EQ(plan.layers[4].fprop, nullptr);  // Its filters end at their heads.
  EXPECT_THAT(notices_, SizeIs(1));
}

TEST_F(PlannerTest, ComparesFusedPoolsWithSeparatePasses) {
  passes_[" + pool"] = 1;
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  EXPECT_EQ(plan.layers[2].fprop->name(), "native");
  EXPECT_TRUE(plan.layers[2].fprop->problem().pooled);
  EXPECT_FALSE(plan.layers[2].fprop->needs_map());
  EXPECT_EQ(plan.layers[3].dgrad->name(), "compiled");  // Its own output is not pooled.
}

TEST_F(PlannerTest, CompilesOnlyForRunsThatPayForIt) {
  // Two seconds of compiling against half a millisecond an iteration of the timed images.
  const auto chosen = [&](std::int64_t iterations) {
    return planner().make(layout_, kImage, use(iterations)).layers[2].fprop->name();
  };
  seconds_of_search_ = 0;
  EXPECT_EQ(chosen(kLong), "compiled + pool");
  EXPECT_EQ(chosen(3000), "other + pool");  // Timings of compiled kernels do not help here.
  EXPECT_EQ(chosen(5000), "compiled + pool");
}

TEST_F(PlannerTest, TimingTakesATenthOfTheRunAtMost) {
  // Launches take milliseconds, so 10 iterations last about 0.1 s.
  const Plan plan = planner().make(layout_, kImage, use(10));
  // Timing the first variant already takes more than a tenth of that.
  EXPECT_THAT(timed_, SizeIs(1));
  EXPECT_THAT(searches_, Not(Contains(PlanSearch::compiled)));
  // Without time, the other library is not even asked, since each request may compile a kernel.
  EXPECT_THAT(searches_, Not(Contains(PlanSearch::untimed)));
  for (int layer = 1; layer <= 2; ++layer) EXPECT_EQ(plan.layers[layer].fprop->name(), "native");
  // The next run knows the timings and continues from there.
  const std::size_t known = known_.size();
  planner().make(layout_, kImage, use(10));
  EXPECT_GE(known_.size(), known);
}

TEST_F(PlannerTest, KnowsWhatEarlierRunsTimed) {
  planner().make(layout_, kImage, use(kLong));
  const auto timed = timed_.size();
  ASSERT_GT(timed, 0u);
  notices_.clear();
  // 67 images are timed as 64, and 55 as 60 are.
  const Plan plan = planner().make(BatchLayout({0, 0, 12, 0, 55}), kImage, use(kLong));
  EXPECT_EQ(timed_.size(), timed);
  EXPECT_THAT(notices_, IsEmpty());
  EXPECT_EQ(plan.layers[1].fprop->problem().images, 67);
  EXPECT_EQ(plan.layers[1].fprop->name(), "native");
}

TEST_F(PlannerTest, AFixedPlanTimesNothing) {
  known_["anything"] = 1;
  const Plan plan = planner(PlanRule::fixed).make(layout_, kImage, use(kLong));
  EXPECT_THAT(timed_, IsEmpty());
  EXPECT_THAT(searches_, IsEmpty());  // The native ones compute everything.
  EXPECT_THAT(notices_, IsEmpty());
  for (int layer = 1; layer <= 2; ++layer) EXPECT_EQ(plan.layers[layer].fprop->name(), "native");
  for (int layer = 0; layer <= 1; ++layer) EXPECT_EQ(plan.layers[layer].mask, MaskFormat::bits);
  EXPECT_EQ(plan.layers[1].dgrad->problem().mask, MaskFormat::none);
  EXPECT_EQ(plan.layers[2].dgrad->problem().mask, MaskFormat::bits);
}

TEST_F(PlannerTest, TheFirstLayersMaskIsItsPools) {
  network_ = test::make_network({{64, true}, {64}, {64, true}, {128}, {64}});
  const Plan plan = planner(PlanRule::fixed).make(layout_, kImage, use(kLong));
  EXPECT_EQ(plan.layers[0].mask, MaskFormat::none);
  EXPECT_EQ(plan.layers[1].dgrad->problem().mask, MaskFormat::none);
}

TEST_F(PlannerTest, StopsTimingWhenTheRunIsInterrupted) {
  stop_.request_stop();
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  EXPECT_THAT(timed_, IsEmpty());
  EXPECT_THAT(searches_, AllOf(Not(IsEmpty()), Each(PlanSearch::known)));
  EXPECT_EQ(plan.layers[1].fprop->name(), "native");
}

TEST_F(PlannerTest, ConcludesNothingFromALackOfMemory) {
  out_of_memory_ = true;
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  EXPECT_THAT(known_, IsEmpty());
  EXPECT_EQ(plan.layers[1].fprop->name(), "native");
  out_of_memory_ = false;
  planner().make(layout_, kImage, use(kLong));
  EXPECT_THAT(known_, Not(IsEmpty()));
}

TEST_F(PlannerTest, DoesNotUseWrongVariants) {
  wrong_ = "native";
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  for (int layer = 1; layer <= 3; ++layer) {
    EXPECT_THAT(plan.layers[layer].fprop->name(), testing::StartsWith("compiled")) << layer;
    EXPECT_THAT(plan.layers[layer].dgrad->name(), testing::StartsWith("compiled")) << layer;
  }
  // Once, and of the timing.
  EXPECT_THAT(notices_,
              testing::UnorderedElementsAre(HasSubstr("Timing"), HasSubstr("wrong. It is not used")));
  for (const auto& [key, milliseconds] : known_) EXPECT_THAT(key, Not(testing::EndsWith(": own")));
}

TEST_F(PlannerTest, DoesNotUseWrongVariantsWithoutTimeForOthers) {
  wrong_ = "native";
  Planner both = planner();
  both.make(layout_, kImage, use(kLong));
  out_of_memory_ = true;
  known_.clear();
  const Plan plan = both.make(layout_, kImage, use(kLong));
  EXPECT_THAT(plan.layers[1].fprop->name(), testing::StartsWith("other"));
}

// The other library offers plans for the 48 images that are timed, but not for all 60.
TEST_F(PlannerTest, TakesAnotherIfTheFastestIsUnavailable) {
  most_images_ = 48;
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  for (int layer = 1; layer <= 3; ++layer) EXPECT_EQ(plan.layers[layer].fprop->name(), "native") << layer;
}

TEST_F(PlannerTest, SearchesOnlyWhileThereIsTime) {
  // Ten iterations last milliseconds, so no search that takes a second is started.
  seconds_of_search_ = 1;
  milliseconds_ = {{"native", 1}, {"other", 1}, {"compiled", 1}};
  const double before = now_;
  planner().make(layout_, kImage, use(10));
  EXPECT_LT(now_ - before, 1.5);
}

TEST_F(PlannerTest, TakesTheFirstLayersFastestKernels) {
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  EXPECT_EQ(plan.first_layer_fprop, "mma");
  EXPECT_EQ(plan.first_layer_dgrad, "direct");
  EXPECT_THAT(plan.describe(network_),
              HasSubstr(network_.convolutions[0].name + ": forward mma, gradient direct, mask bits; "));
  ASSERT_THAT(timed_first_layers_, SizeIs(4));
  EXPECT_EQ(timed_first_layers_[0], (FirstLayerProblem{Direction::fprop, 64, 96, 96, 64, Precision::fp16}));
  EXPECT_EQ(timed_first_layers_[2].direction, Direction::dgrad);
  // Later runs with a similar number of images know the timings.
  first_layer_milliseconds_.clear();
  const Plan known = planner().make(BatchLayout({0, 0, 12, 0, 55}), kImage, use(kLong));
  EXPECT_EQ(known.first_layer_fprop, "mma");
  EXPECT_EQ(known.first_layer_dgrad, "direct");
  EXPECT_THAT(timed_first_layers_, SizeIs(4));
}

TEST_F(PlannerTest, UntimedFirstLayerKernelsAreThoseOfferedFirst) {
  const auto expect_first = [&](Planner planner, const PlanUse& use) {
    const Plan plan = planner.make(layout_, kImage, use);
    EXPECT_EQ(plan.first_layer_fprop, "mma");
    EXPECT_EQ(plan.first_layer_dgrad, "mma");
    EXPECT_THAT(timed_first_layers_, IsEmpty());
  };
  expect_first(planner(PlanRule::fixed), use(kLong));
  expect_first(planner(), use(10));
  out_of_memory_ = true;
  expect_first(planner(), use(kLong));
  out_of_memory_ = false;
  stop_.request_stop();
  expect_first(planner(), use(kLong));
}

TEST_F(PlannerTest, DoesNotUseWrongFirstLayerKernels) {
  wrong_ = "mma";
  Planner one = planner();
  const auto expect_direct = [&] {
    const Plan plan = one.make(layout_, kImage, use(kLong));
    EXPECT_EQ(plan.first_layer_fprop, "direct");
    EXPECT_EQ(plan.first_layer_dgrad, "direct");
  };
  expect_direct();
  EXPECT_THAT(notices_, Contains(HasSubstr("wrong. It is not used")).Times(2));
  for (const auto& [key, milliseconds] : known_) EXPECT_THAT(key, Not(testing::EndsWith(": mma")));
  // Nor if there is no time to time the other.
  known_.clear();
  stop_.request_stop();
  expect_direct();
}

TEST_F(PlannerTest, DoesNotUseWrongFirstLayerKernelsWithoutTimeForOthers) {
  wrong_ = "mma";
  PlanUse use = this->use(kLong);
  use.on_notice = [this](const std::string& text) {
    if (text.starts_with("wrong")) stop_.request_stop();
  };
  EXPECT_EQ(planner().make(layout_, kImage, use).first_layer_fprop, "direct");
  EXPECT_THAT(timed_first_layers_, SizeIs(1));
}

TEST_F(PlannerTest, DoesNotUseWhatCannotBeLaunched) {
  refused_ = "native";
  const Plan plan = planner().make(layout_, kImage, use(kLong));
  EXPECT_THAT(plan.layers[1].fprop->name(), testing::StartsWith("compiled"));
  refused_ = "mma";
  known_.clear();
  EXPECT_EQ(planner().make(layout_, kImage, use(kLong)).first_layer_fprop, "direct");
}

// Nothing can be launched any more; the next run avoids that kernel for every problem.
TEST_F(PlannerTest, DoesNotUseAgainWhatBrokeTheDevice) {
  for (const char* kernel : {"native", "mma"}) {
    SCOPED_TRACE(kernel);
    refused_ = kernel;
    known_.clear();
    emulation::set_broken(true);
    EXPECT_THAT([&] { planner().make(layout_, kImage, use(kLong)); },
                testing::ThrowsMessage<Error>(testing::AllOf(
                    HasSubstr(kernel), HasSubstr("broke the device: refused. Repeat the command"))));
    emulation::set_broken(false);
    const Plan plan = planner().make(layout_, kImage, use(kLong));
    EXPECT_NE(plan.first_layer_fprop, kernel);
    for (const Plan::Layer& layer : plan.layers) {
      for (const auto* variant : {&layer.fprop, &layer.dgrad}) {
        if (*variant) {
          EXPECT_THAT((*variant)->name(), Not(testing::StartsWith(kernel)));
        }
      }
    }
  }
}

// The native kernels of the first layers are known to be fast, and turn out to be wrong at a later layer.
TEST_F(PlannerTest, ReplacesEarlierChoicesOfWrongVariants) {
  milliseconds_["native"] = 0.1;
  ASSERT_EQ(planner().make(layout_, kImage, use(kLong)).layers[1].fprop->name(), "native");
  const std::size_t erased = std::erase_if(known_, [](const auto& known) {
    return known.first.starts_with("dgrad") && known.first.find("64->128") != std::string::npos;
  });
  ASSERT_GT(erased, 0u);
  wrong_ = "native";
  PlanUse use = this->use(kLong);
  use.on_notice = [this](const std::string& text) {
    if (text.starts_with("wrong")) stop_.request_stop();  // Nothing else is searched.
  };
  const Plan plan = planner().make(layout_, kImage, use);
  for (int layer = 1; layer <= 3; ++layer) EXPECT_NE(plan.layers[layer].fprop->name(), "native") << layer;
}

TEST_F(PlannerTest, PlansTheFirstLayerWithoutConvolutions) {
  // At most two launches, about 0.2 ms per iteration.
  const Plan plan = planner().make(BatchLayout({0, 64}), kImage, use(2));
  EXPECT_EQ(plan.first_layer_fprop, "mma");
  EXPECT_THAT(timed_first_layers_, SizeIs(1));
  known_.clear();
  planner().make(BatchLayout({0, 64}), kImage, use(kLong));
  EXPECT_THAT(timed_first_layers_, SizeIs(1 + 4));
}

TEST_F(PlannerTest, NeedsNoFirstLayerKernelsIfOnlyHeadsReadTheImages) {
  const Plan plan = planner().make(BatchLayout({64}), kImage, use(kLong));
  EXPECT_EQ(plan.first_layer_fprop, "");
  EXPECT_EQ(plan.first_layer_dgrad, "");
  EXPECT_THAT(timed_first_layers_, IsEmpty());
}

TEST(TimedProblem, HasEnoughPositionsForTheFirstLayer) {
  const auto images = [](int count, int size) {
    return timed_problem(FirstLayerProblem{Direction::fprop, count, size, size, 64, Precision::fp16}).images;
  };
  EXPECT_EQ(images(7, 96), 6);
  EXPECT_EQ(images(2048, 96), 512);
  EXPECT_EQ(images(2048, 100), 384);
  EXPECT_EQ(images(2, 4000), 1);
}

TEST_F(PlannerTest, AnUnsupportedProblemIsAnErrorThatNamesTheLayer) {
  Planner none(network_, Precision::tf32, PlanRule::timed,
               {[](const ConvolutionProblem&, PlanSearch, const TimingBudget&) {
                 return std::vector<std::unique_ptr<ConvolutionVariant>>();
               }},
               timings());
  EXPECT_THAT([&] { none.make(layout_, kImage); },
              testing::ThrowsMessage<Error>(HasSubstr(network_.convolutions[1].name)));
}

}  // namespace
}  // namespace filterscope::cuda
