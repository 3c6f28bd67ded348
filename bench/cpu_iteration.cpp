// Time of one ascent iteration (forward, backward, normalise, step) of the CPU engine, by target layer and
// batch size, on the stand-in weights, 96 x 96. `ms_per_image` is what filters cost; compare_cpu.sh sets it
// beside PyTorch's.

#include <benchmark/benchmark.h>

#include <vector>

#include "host/ascent.h"
#include "host/cpu/aligned.h"
#include "host/cpu/parallel.h"
#include "host/cpu/plan.h"
#include "host/cpu/stack.h"
#include "host/network.h"
#include "host/recipe.h"
#include "host/weights.h"

namespace {

using namespace filterscope;

constexpr Extent kExtent{96, 96};

void iteration(benchmark::State& state, int layer, int images, cpu::PlanRule rule) {
  static const Weights weights = synthetic_weights(vgg16());
  static cpu::Planner automatic(vgg16(), weights, kExtent, cpu::PlanRule::automatic);
  static cpu::Planner fixed(vgg16(), weights, kExtent, cpu::PlanRule::fixed);
  cpu::Planner& planner = rule == cpu::PlanRule::automatic ? automatic : fixed;
  const Recipe& recipe = find_recipe("seed");
  const std::size_t size = static_cast<std::size_t>(kExtent.positions()) * 3;
  std::vector<int> filters;
  for (int filter = 0; filter < images; ++filter) filters.push_back(filter);
  cpu::Stack stack(vgg16(), weights, recipe.input_mapping, planner, planner.make(layer, images), filters);
  cpu::AlignedBuffer<float> image(size * images);
  cpu::AlignedBuffer<float> gradient(size * images);
  std::vector<double> losses(images);
  for (int i = 0; i < images; ++i) {
    initial_noise(recipe.initial_image, 0, {layer, i}, image.span().subspan(size * i, size));
  }
  for (auto _ : state) {
    stack.loss_and_gradient(image.data(), losses.data(), gradient.data());
    cpu::parallel_tiles(images, 1, 1, [&](int i, int, int) {
      const auto own = gradient.span().subspan(size * i, size);
      normalise_and_step(recipe, sum_of_squares(own), own, image.span().subspan(size * i, size));
    });
  }
  state.counters["ms_per_image"] = benchmark::Counter(
      1e-3 * images, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["GFLOP/s"] = benchmark::Counter(vgg16().iteration_flops(layer, kExtent) * images / 1e9,
                                                 benchmark::Counter::kIsIterationInvariantRate);
  state.SetLabel(stack.plan().describe(vgg16()));
}

}  // namespace

int main(int argc, char** argv) {
  for (const char* name :
       {"block1_conv2", "block2_conv2", "block3_conv1", "block3_conv3", "block4_conv3", "block5_conv3"}) {
    const int layer = *vgg16().find(name);
    for (const auto& [rule, rule_name] :
         {std::pair{cpu::PlanRule::automatic, "automatic"}, {cpu::PlanRule::fixed, "fixed"}}) {
      for (const int images : {1, 2, 4, 8, 16, 32, 64}) {
        benchmark::RegisterBenchmark(
            (std::string(name) + "/" + rule_name + "/batch:" + std::to_string(images)).c_str(),
            [layer, images, rule = rule](benchmark::State& state) { iteration(state, layer, images, rule); })
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
