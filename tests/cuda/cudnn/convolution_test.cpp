// cuDNN's convolutions on a device, compared with plain loops in double precision. The values are small
// multiples of 1/8, so products and sums are exact in every precision and order, and only the rounding of the
// result differs from the reference. (In fp32 some plans use Winograd's algorithm, whose transforms round.)

#include "host/cuda/cudnn/convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/cuda/cudnn/graph.h"
#include "host/cuda/plan/plan_cache.h"
#include "host/cuda/plan/planner.h"
#include "host/cuda/storage.h"
#include "tests/support/device.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
void PrintTo(Precision precision, std::ostream* out) {
  *out << to_string(precision);
}
}  // namespace filterscope

namespace filterscope::cuda {
namespace {

using test::download;
using test::poisoned;
using test::round_to;
using test::upload;
using test::widen;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t kWorkspaceLimit = std::size_t{1} << 28;
constexpr Precision kPrecisions[]{Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16};

bool has_device() {
  int count = 0;
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return found;
}

std::vector<float> eighths(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> eighth(-8, 8);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(eighth(generator)) / 8.f;
  return values;
}

// Host data of a problem, and the expected result.
struct Data {
  explicit Data(const ConvolutionProblem& of) : problem(of) {
    const std::size_t positions = std::size_t(of.images) * of.height * of.width;
    source = eighths(positions * of.source_channels(), 1);
    weights = eighths(std::size_t{9} * of.in_channels * of.out_channels, 2);
    bias = eighths(of.out_channels, 3);
    below = eighths(positions * of.in_channels, 4);
    for (float& value : below) value = std::max(value, 0.f);
    expected = of.direction == Direction::fprop ? fprop() : dgrad();
  }

  float weight(int k, int r, int s, int c) const {
    return weights[((k * 3 + r) * 3 + s) * problem.in_channels + c];
  }
  std::vector<float> rotated() const {
    std::vector<float> values;
    for (int c = 0; c < problem.in_channels; ++c) {
      for (int r = 0; r < 3; ++r) {
        for (int s = 0; s < 3; ++s) {
          for (int k = 0; k < problem.out_channels; ++k) values.push_back(weight(k, 2 - r, 2 - s, c));
        }
      }
    }
    return values;
  }

  // Calls visit(output position, input position, r, s) for every tap of the layer's convolution.
  template <class Visit>
  void taps(const Visit& visit) const {
    const auto position = [&](int image, int y, int x) {
      return (image * problem.height + y) * problem.width + x;
    };
    for (int image = 0; image < problem.images; ++image) {
      for (int y = 0; y < problem.height; ++y) {
        for (int x = 0; x < problem.width; ++x) {
          for (int r = 0; r < 3; ++r) {
            for (int s = 0; s < 3; ++s) {
              const int v = y + r - 1;
              const int u = x + s - 1;
              if (v < 0 || v >= problem.height || u < 0 || u >= problem.width) continue;
              visit(position(image, y, x), position(image, v, u), r, s);
            }
          }
        }
      }
    }
  }
  std::vector<double> fprop() const {
    const int in = problem.in_channels;
    const int out = problem.out_channels;
    std::vector<double> sums(source.size() / in * out);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = bias[i % out];
    taps([&](int to, int from, int r, int s) {
      for (int k = 0; k < out; ++k) {
        for (int c = 0; c < in; ++c) sums[to * out + k] += double{source[from * in + c]} * weight(k, r, s, c);
      }
    });
    for (double& sum : sums) sum = std::max(sum, 0.);
    return sums;
  }
  std::vector<double> dgrad() const {
    const int in = problem.in_channels;
    const int out = problem.out_channels;
    std::vector<double> sums(source.size() / out * in);
    taps([&](int from, int to, int r, int s) {
      for (int c = 0; c < in; ++c) {
        for (int k = 0; k < out; ++k)
          sums[to * in + c] += double{source[from * out + k]} * weight(k, r, s, c);
      }
    });
    if (problem.mask == MaskFormat::none) return sums;
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = below[i] > 0 ? sums[i] : 0;
    return sums;
  }

  ConvolutionProblem problem;
  std::vector<float> source, weights, bias, below;
  std::vector<double> expected;
};

// The same data on the device.
template <class T>
class DeviceData {
 public:
  explicit DeviceData(const Data& data)
      : data_(data),
        source_(upload(round_to<T>(data.source))),
        weights_(upload(round_to<T>(data.weights))),
        rotated_(upload(round_to<T>(data.rotated()))),
        bias_(upload(data.bias)),
        storage_bias_(upload(round_to<T>(data.bias))),
        below_(upload(round_to<T>(data.below))),
        destination_(poisoned<T>(data.expected.size())) {
    std::vector<std::uint8_t> active;
    for (const float value : data.below) active.push_back(value > 0);
    active_ = upload(active);
    mask_ = poisoned<std::uint8_t>(data.expected.size());
  }

  ConvolutionArguments arguments(WeightLayout layout, BiasType bias, void* workspace) {
    const bool fprop = data_.problem.direction == Direction::fprop;
    const MaskFormat mask = data_.problem.mask;
    ConvolutionArguments arguments{
        .source = source_.data(),
        .weights = layout == WeightLayout::krsc ? weights_.data() : rotated_.data(),
        .destination = destination_.data(),
        .workspace = workspace};
    if (fprop) {
      arguments.bias = bias == BiasType::fp32 ? static_cast<void*>(bias_.data()) : storage_bias_.data();
      if (mask == MaskFormat::bytes) arguments.mask_out = mask_.data();
    } else if (mask != MaskFormat::none) {
      arguments.mask_in = mask == MaskFormat::bytes ? static_cast<void*>(active_.data()) : below_.data();
    }
    return arguments;
  }

  void poison() {
    check(cudaMemset(destination_.data(), 0xff, destination_.size() * sizeof(T)), "poisoning");
    check(cudaMemset(mask_.data(), 0xff, mask_.size()), "poisoning");
    // The wrapper's streams do not wait for the default stream.
    check(cudaDeviceSynchronize(), "poisoning");
  }
  std::vector<float> result() const { return widen(download(destination_)); }

  void expect_right(const std::string& name) const {
    const std::vector<float> values = result();
    // One unit in the last place, for any rounding. Winograd's transforms of 4x4 and larger tiles, which
    // cuDNN also offers where TF32 is allowed, lose some digits of the largest values.
    const double relative = 2 * test::kRounding<T>;
    const double largest = *std::ranges::max_element(data_.expected);
    const double absolute = storage_bytes(data_.problem.precision) == sizeof(float) ? 1e-5 * largest : 0;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double expected = data_.expected[i];
      if (std::abs(values[i] - expected) <= relative * std::abs(expected) + absolute) continue;
      if (++wrong > 3) continue;
      ADD_FAILURE() << name << ": element " << i << " is " << values[i] << ", not " << expected;
    }
    EXPECT_EQ(wrong, 0u) << name << ": of " << values.size();
    if (data_.problem.direction != Direction::fprop || data_.problem.mask != MaskFormat::bytes) return;
    const std::vector<std::uint8_t> mask = download(mask_);
    for (std::size_t i = 0; i < mask.size(); ++i) {
      ASSERT_EQ(mask[i], data_.expected[i] > 0) << name << ": mask of element " << i;
    }
  }

 private:
  const Data& data_;
  DeviceBuffer<T> source_, weights_, rotated_;
  DeviceBuffer<float> bias_;
  DeviceBuffer<T> storage_bias_, below_, destination_;
  DeviceBuffer<std::uint8_t> active_, mask_;
};

std::vector<ConvolutionProblem> problems(Precision precision) {
  std::vector<ConvolutionProblem> problems;
  for (const auto& [images, height, width, in, out] :
       {std::array{3, 7, 5, 64, 128}, std::array{1, 13, 9, 128, 64}, std::array{65, 6, 6, 64, 64}}) {
    for (const Direction direction : {Direction::fprop, Direction::dgrad}) {
      for (const MaskFormat mask : {MaskFormat::none, MaskFormat::activation, MaskFormat::bytes}) {
        problems.push_back({images, height, width, in, out, precision, direction, mask});
      }
    }
  }
  return problems;
}

class CudnnConvolutionTest : public testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no CUDA device";
    try {
      cudnn_version();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

TEST_P(CudnnConvolutionTest, EveryPlanIsRight) {
  // Each takes up to a second.
  constexpr int kCompiledPlans = 6;
  const auto handle = std::make_shared<const CudnnHandle>();
  const Stream stream;
  for (const ConvolutionProblem& problem : problems(GetParam())) {
    const Data data(problem);
    with_storage(problem.precision, [&]<class T>(Storage<T>) {
      DeviceData<T> device(data);
      for (const GraphDescription& description : graphs_of(problem)) {
        const auto graph = ConvolutionGraph::make(description, handle, kWorkspaceLimit);
        ASSERT_TRUE(graph) << to_string(description);
        int right = 0;
        int compiled = 0;
        for (int plan = 0; plan < graph->plan_count(); ++plan) {
          if (graph->compiles(plan) && ++compiled > kCompiledPlans) continue;
          const std::string name = to_string(description) + " " + graph->plan_name(plan);
          SCOPED_TRACE(name);
          // Heuristics also propose plans that cannot be built; the engine passes them over.
          if (!graph->build(plan)) continue;
          const DeviceBuffer<std::byte> workspace(graph->workspace_bytes(plan));
          const WeightLayout layout = description.formulation == Formulation::rotated_fprop
                                          ? WeightLayout::crsk_rotated
                                          : WeightLayout::krsc;
          device.poison();
          graph->launch(plan, *handle, device.arguments(layout, description.bias_type, workspace.data()),
                        stream);
          stream.synchronise();
          device.expect_right(name);
          ++right;
        }
        EXPECT_GT(right, 0) << to_string(description) << ": no plan can be built";
      }
    });
  }
}

TEST_P(CudnnConvolutionTest, EveryVariantIsRightAndSaysHowItIsCalled) {
  CudnnConvolutions convolutions({.workspace_limit = kWorkspaceLimit});
  const Stream stream;
  for (const ConvolutionProblem& problem : problems(GetParam())) {
    const auto variants = convolutions.variants(problem);
    // A plan that comes with cuDNN, one that is compiled, or both.
    EXPECT_GE(variants.size(), graphs_of(problem).size()) << to_string(problem);
    if (variants.empty()) continue;
    const Data data(problem);
    with_storage(problem.precision, [&]<class T>(Storage<T>) {
      DeviceData<T> device(data);
      for (const auto& variant : variants) {
        EXPECT_EQ(variant->problem(), problem);
        EXPECT_THAT(variant->name(), AllOf(StartsWith("cudnn "), HasSubstr(" eng")));
        const DeviceBuffer<std::byte> workspace(variant->workspace_bytes());
        const ConvolutionArguments arguments =
            device.arguments(variant->weight_layout(), variant->bias_type(), workspace.data());
        device.poison();
        variant->launch(arguments, stream);
        stream.synchronise();
        device.expect_right(variant->name());
        const std::vector<float> direct = device.result();

        device.poison();
        const Graph graph = Graph::capture(stream, [&] { variant->launch(arguments, stream); });
        graph.launch(stream);
        stream.synchronise();
        EXPECT_EQ(device.result(), direct) << variant->name() << ", as a CUDA graph";
      }
    });
  }
}

TEST_P(CudnnConvolutionTest, TakesPlansFromTheCacheWhileCudnnOffersThem) {
  const TemporaryFolder folder;
  const ConvolutionProblem problem{3, 7, 5, 64, 128, GetParam(), Direction::dgrad, MaskFormat::none};
  const auto chosen_with = [&](PlanCache& cache) {
    CudnnConvolutions convolutions({.workspace_limit = kWorkspaceLimit, .cache = &cache});
    std::vector<std::string> names;
    for (const auto& variant : convolutions.variants(problem)) {
      variant->workspace_bytes();
      names.push_back(variant->name());
    }
    return names;
  };
  PlanCache first(folder.path(), {});
  const std::vector<std::string> timed = chosen_with(first);
  ASSERT_FALSE(timed.empty());

  PlanCache second(folder.path(), {});
  EXPECT_EQ(chosen_with(second), timed);

  // If the cache says that there is no plan, that is believed; a plan that cuDNN does not offer is not
  // available.
  const GraphDescription graph = [&] {
    GraphDescription description = graphs_of(problem)[0];
    description.images = timed_problem(problem).images;
    return description;
  }();
  PlanCache third(folder.path(), {});
  third.store(to_string(graph) + ", ready-made", {"eng9999_k1=2", 1e-9, 0});
  third.store(to_string(graph) + ", compiled", {"", 0, 0});
  CudnnConvolutions convolutions({.workspace_limit = kWorkspaceLimit, .cache = &third});
  const auto variants = convolutions.variants(problem, PlanSearch::known);
  ASSERT_FALSE(variants.empty());
  EXPECT_THAT(variants[0]->name(), HasSubstr("eng9999"));
  EXPECT_FALSE(variants[0]->make_ready());
  EXPECT_THROW(variants[0]->workspace_bytes(), Error);
  for (std::size_t i = 1; i < variants.size(); ++i) EXPECT_TRUE(variants[i]->make_ready());
}

TEST_P(CudnnConvolutionTest, TimesNothingThatItNeedNot) {
  PlanCache cache({}, {});
  CudnnConvolutions convolutions({.workspace_limit = kWorkspaceLimit, .cache = &cache});
  const ConvolutionProblem problem{3, 7, 5, 64, 128, GetParam(), Direction::fprop, MaskFormat::none};
  EXPECT_TRUE(convolutions.variants(problem, PlanSearch::known).empty());
  EXPECT_FALSE(convolutions.variants(problem, PlanSearch::untimed).empty());
  EXPECT_TRUE(convolutions.variants(problem, PlanSearch::known).empty());
  const auto never = [] { return false; };
  EXPECT_TRUE(convolutions.variants(problem, PlanSearch::compiled, never).empty());
  for (const auto& variant : convolutions.variants(problem, PlanSearch::ready_made))
    EXPECT_EQ(variant->setup_seconds(), 0) << variant->name();
}

TEST_P(CudnnConvolutionTest, TakesTheSamePlansWhereTheyAreToBeReproducible) {
  std::vector<std::vector<std::string>> names(2);
  for (auto& list : names) {
    CudnnConvolutions convolutions({.workspace_limit = kWorkspaceLimit});
    for (const ConvolutionProblem& problem : problems(GetParam())) {
      for (const auto& variant : convolutions.variants(problem, PlanSearch::untimed))
        list.push_back(variant->name());
    }
  }
  EXPECT_EQ(names[0], names[1]);
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudnnConvolutionTest, testing::ValuesIn(kPrecisions),
                         [](const auto& instance) {
                           return std::string(filterscope::to_string(instance.param));
                         });

// cuDNN is initialised only when it is needed, so that runs with the project's kernels do not wait for it.
TEST(CudnnConvolutions, AreADeviceErrorWithoutADevice) {
  if (has_device()) GTEST_SKIP() << "there is one";
  CudnnConvolutions convolutions;
  const ConvolutionProblem problem{.images = 1,
                                   .height = 4,
                                   .width = 4,
                                   .in_channels = 64,
                                   .out_channels = 64,
                                   .precision = Precision::fp16};
  try {
    convolutions.variants(problem, PlanSearch::untimed);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    EXPECT_THAT(error.what(), HasSubstr("cuDNN"));
  }
}

}  // namespace
}  // namespace filterscope::cuda
