// Which graphs cuDNN accepts on GPUs that are not present, by cuDNN's own descriptions of them
// (tests/data/cudnn_devices). A graph that no engine accepts on a supported GPU fails a test here instead of
// a run there. Each test prints its part of a table of graphs and plans; run cudnn_graph_test directly to see
// it.

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/cuda/cudnn/fastest_plan.h"
#include "host/model/network.h"

namespace filterscope::cuda {
namespace {

using testing::HasSubstr;

constexpr std::size_t kWorkspaceLimit = std::size_t{1} << 30;
constexpr Extent kImage{96, 96};
// A batch of full-depth images that fits on the smallest of these GPUs.
constexpr int kBatch = 256;
// Images whose first maps have more elements than a 32-bit integer can count.
constexpr int kLargeBatch = 4224;

struct Target {
  std::string device;
  Precision precision;
};
void PrintTo(const Target& target, std::ostream* out) {
  *out << target.device << " " << filterscope::to_string(target.precision);
}
std::vector<Target> targets() {
  std::vector<Target> targets;
  for (const char* device : {"h200", "a100", "l40s"}) {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16}) {
      targets.push_back({device, precision});
    }
  }
  return targets;
}

class CudnnGraphTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (dlopen("libcuda.so.1", RTLD_NOW) == nullptr)
      GTEST_SKIP() << "no driver library, not even the toolkit's stub";
    try {
      const std::string version = cudnn_version();
      // cuDNN supports descriptions of devices since 9.8.
      if (std::sscanf(version.c_str(), "9.%d", &minor_) != 1 || minor_ < 8) {
        GTEST_SKIP() << "cuDNN " << version << " knows no devices but those that are here";
      }
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    std::ifstream file(std::string(FILTERSCOPE_TEST_DATA) + "/cudnn_devices/" + GetParam().device + ".json");
    device_.assign(std::istreambuf_iterator<char>(file), {});
    ASSERT_FALSE(device_.empty());
  }

  static Precision precision() { return GetParam().precision; }

  std::unique_ptr<ConvolutionGraph> make(const GraphDescription& description,
                                         std::string* refusal = nullptr) const {
    return ConvolutionGraph::make(description, device_, kWorkspaceLimit, refusal);
  }

  std::string device_;
  int minor_ = 0;
};

// The layers after the first that differ in what matters here.
std::vector<ConvolutionProblem> layers(Precision precision, int images) {
  std::vector<ConvolutionProblem> problems;
  for (int layer = 1; layer < vgg16().layer_count(); ++layer) {
    const Convolution& convolution = vgg16().convolutions[layer];
    const Extent map = vgg16().map_extent(layer, kImage);
    const ConvolutionProblem problem{.images = images,
                                     .height = map.height,
                                     .width = map.width,
                                     .in_channels = convolution.in_channels,
                                     .out_channels = convolution.out_channels,
                                     .precision = precision};
    if (std::ranges::find(problems, problem) == problems.end()) problems.push_back(problem);
  }
  return problems;
}

// "7 plans: eng7 eng1": each engine once, in the order of its best plan.
std::string summary(const ConvolutionGraph& graph) {
  std::vector<std::string> engines;
  for (int plan = 0; plan < graph.plan_count(); ++plan) {
    const std::string& name = graph.plan_name(plan);
    std::string engine = name.substr(0, name.find('_'));
    if (std::ranges::find(engines, engine) == engines.end()) engines.push_back(std::move(engine));
  }
  std::string text = std::to_string(graph.plan_count()) + (graph.plan_count() == 1 ? " plan:" : " plans:");
  for (const std::string& engine : engines) text += " " + engine;
  return text;
}

void print_row(const std::string& device, const GraphDescription& description, const std::string& result) {
  std::printf("%-5s | %-60s | %s\n", device.c_str(), to_string(description).c_str(), result.c_str());
}

struct MaskOfDirection {
  Direction direction;
  MaskFormat mask;
};
constexpr std::array kEngineAsksFor{
    MaskOfDirection{Direction::fprop, MaskFormat::none},
    MaskOfDirection{Direction::fprop, MaskFormat::activation},
    MaskOfDirection{Direction::fprop, MaskFormat::bytes},
    MaskOfDirection{Direction::fprop, MaskFormat::bits},
    MaskOfDirection{Direction::dgrad, MaskFormat::none},
    MaskOfDirection{Direction::dgrad, MaskFormat::activation},
    MaskOfDirection{Direction::dgrad, MaskFormat::bytes},
    MaskOfDirection{Direction::dgrad, MaskFormat::bits},
};

// What cuDNN does not compute. The engine then uses it with MaskFormat::none, which must be available, and a
// separate mask kernel.
bool refused(const ConvolutionProblem& problem) {
  if (problem.mask == MaskFormat::bits) return true;
  if (problem.precision != Precision::fp32) return false;
  return problem.mask == MaskFormat::bytes ||
         (problem.mask == MaskFormat::activation && problem.direction == Direction::dgrad);
}

TEST_P(CudnnGraphTest, TakesEveryConvolutionOfTheEngine) {
  std::set<std::string> seen;
  for (ConvolutionProblem problem : layers(precision(), kBatch)) {
    for (const auto& [direction, mask] : kEngineAsksFor) {
      problem.direction = direction;
      problem.mask = mask;
      const std::vector<GraphDescription> graphs = graphs_of(problem);
      EXPECT_EQ(graphs.empty(), refused(problem)) << to_string(problem);
      for (const GraphDescription& description : graphs) {
        if (!seen.insert(to_string(description)).second) continue;
        std::string refusal;
        const auto graph = make(description, &refusal);
        EXPECT_TRUE(graph) << to_string(description) << ": " << refusal;
        print_row(GetParam().device, description, graph ? summary(*graph) : "refused");
        if (!graph) continue;
        for (int plan = 0; plan < graph->plan_count(); ++plan) {
          EXPECT_THAT(graph->plan_name(plan), HasSubstr("eng"));
        }
      }
    }
  }
}

// A plan's kernel compiles for the device; only loading it fails, in the stub.
TEST_P(CudnnGraphTest, CompilesItsKernels) {
  if (precision() == Precision::fp32)
    GTEST_SKIP() << "the graphs used in fp32 have kernels that come with cuDNN";
  ConvolutionProblem problem{.images = kBatch,
                             .height = 48,
                             .width = 48,
                             .in_channels = 128,
                             .out_channels = 128,
                             .precision = precision()};
  int compiled = 0;
  for (const auto& [direction, mask] : kEngineAsksFor) {
    problem.direction = direction;
    problem.mask = mask;
    for (const GraphDescription& description : graphs_of(problem)) {
      const auto graph = make(description);
      ASSERT_TRUE(graph) << to_string(description);
      std::string reason;
      if (graph->build(0, &reason)) continue;
      EXPECT_THAT(reason, HasSubstr("cuLibraryLoadData"))
          << to_string(description) << " " << graph->plan_name(0);
      EXPECT_TRUE(graph->compiles(0)) << to_string(description);
      ++compiled;
    }
  }
  EXPECT_GT(compiled, 0) << "nothing of this was tested";
}

// Plans that come with cuDNN can be built without loading anything.
TEST_P(CudnnGraphTest, BuildsPlansThatComeWithCudnn) {
  for (const auto& [formulation, epilogue] :
       {std::pair{Formulation::fprop, Epilogue::bias_relu}, std::pair{Formulation::dgrad, Epilogue::none},
        std::pair{Formulation::rotated_fprop, Epilogue::none}}) {
    const auto graph = make({.images = kBatch,
                             .height = 24,
                             .width = 24,
                             .in_channels = 256,
                             .out_channels = 256,
                             .precision = precision(),
                             .formulation = formulation,
                             .epilogue = epilogue});
    ASSERT_TRUE(graph);
    int built = 0;
    for (int plan = 0; plan < graph->plan_count(); ++plan) {
      if (graph->compiles(plan)) continue;
      std::string reason;
      EXPECT_TRUE(graph->build(plan, &reason)) << graph->plan_name(plan) << ": " << reason;
      EXPECT_LE(graph->workspace_bytes(plan), kWorkspaceLimit) << graph->plan_name(plan);
      ++built;
    }
    EXPECT_GT(built, 0);
  }
}

TEST_P(CudnnGraphTest, LeavesOutPlansThatWantTooMuchWorkspace) {
  const GraphDescription description{.images = kBatch,
                                     .height = 96,
                                     .width = 96,
                                     .in_channels = 64,
                                     .out_channels = 64,
                                     .precision = Precision::tf32,
                                     .epilogue = Epilogue::bias_relu};
  const auto all = ConvolutionGraph::make(description, device_, kWorkspaceLimit);
  const auto small = ConvolutionGraph::make(description, device_, std::size_t{1} << 20);
  ASSERT_TRUE(all);
  ASSERT_TRUE(small);
  EXPECT_LT(small->plan_count(), all->plan_count());
}

// Maps with more elements than a 32-bit integer counts. In half precision nothing is refused; plans for fp32
// and tf32 get fewer, so the engine keeps maps below 2^31 elements.
TEST_P(CudnnGraphTest, TakesMapsOfMoreThan2To31Elements) {
  ConvolutionProblem problem{.images = kLargeBatch,
                             .height = 96,
                             .width = 96,
                             .in_channels = 64,
                             .out_channels = 64,
                             .precision = precision()};
  std::set<std::string> seen;
  for (const auto& [direction, mask] : kEngineAsksFor) {
    problem.direction = direction;
    problem.mask = mask;
    for (const GraphDescription& description : graphs_of(problem)) {
      if (!seen.insert(to_string(description)).second) continue;
      std::string refusal;
      const auto graph = make(description, &refusal);
      EXPECT_TRUE(graph) << to_string(description) << ": " << refusal;
      print_row(GetParam().device, description, graph ? summary(*graph) : "refused");
    }
  }
}

// The benchmark's other graphs: more ways to write a mask, and the first layer, for which the engine has its
// own kernels.
TEST_P(CudnnGraphTest, TakesTheBenchmarksGraphs) {
  const auto expect = [&](const GraphDescription& description, bool taken) {
    std::string refusal;
    const auto graph = make(description, &refusal);
    EXPECT_EQ(graph != nullptr, taken) << to_string(description) << ": " << refusal;
    print_row(GetParam().device, description, graph ? summary(*graph) : "refused");
  };
  GraphDescription description{.images = kBatch,
                               .height = 48,
                               .width = 48,
                               .in_channels = 128,
                               .out_channels = 128,
                               .precision = precision()};
  expect(description, true);
  description.epilogue = Epilogue::bias_relu_boolean;
  expect(description, true);
  for (const Formulation formulation : {Formulation::dgrad, Formulation::rotated_fprop}) {
    description.formulation = formulation;
    for (const Epilogue epilogue : {Epilogue::bytes_select, Epilogue::boolean_select}) {
      description.epilogue = epilogue;
      expect(description, true);
    }
  }
  GraphDescription first{.images = kBatch,
                         .height = 96,
                         .width = 96,
                         .in_channels = 3,
                         .out_channels = 64,
                         .precision = precision(),
                         .epilogue = Epilogue::bias_relu};
  for (const BiasType type : {BiasType::storage, BiasType::fp32}) {
    first.bias_type = type;
    expect(first, true);
  }
  first.epilogue = Epilogue::none;
  for (const Formulation formulation : {Formulation::dgrad, Formulation::rotated_fprop}) {
    first.formulation = formulation;
    expect(first, true);
  }
  // No cuDNN engine writes a masked map of three channels in bf16. The image has no ReLU.
  first.formulation = Formulation::dgrad;
  first.epilogue = Epilogue::relu_backward;
  if (precision() == Precision::bf16) expect(first, false);
}

INSTANTIATE_TEST_SUITE_P(Devices, CudnnGraphTest, testing::ValuesIn(targets()), [](const auto& instance) {
  return instance.param.device + "_" + std::string(filterscope::to_string(instance.param.precision));
});

}  // namespace
}  // namespace filterscope::cuda
