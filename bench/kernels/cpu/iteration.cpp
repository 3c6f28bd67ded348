// A whole iteration of the engine (forward, backward, normalise, step), by target layer. There is only one
// set of buffers, since the engine also reuses the same ones.

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "../check.h"
#include "families.h"
#include "host/ascent/operations/optimiser.h"
#include "host/ascent/operations/start.h"
#include "host/ascent/recipe.h"
#include "host/ascent/stage_program.h"
#include "host/base/threads.h"
#include "host/cpu/network_passes.h"
#include "host/cpu/plan.h"
#include "host/model/weights/weights.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

// Planners keep their transformed weights from one benchmark to the next.
struct Planners {
  Planners(const Network& for_network, Extent image)
      : network(for_network),
        weights(synthetic_weights(network)),
        automatic(network, weights, image, PlanRule::automatic),
        fixed(network, weights, image, PlanRule::fixed),
        smallest(network, weights, image, PlanRule::smallest) {}

  Network network;
  Weights weights;
  Planner automatic;
  Planner fixed;
  Planner smallest;
};

struct Batch {
  std::unique_ptr<NetworkPasses> passes;
  AlignedBuffer<float> images;
  AlignedBuffer<float> gradients;
  std::vector<double> losses;
};

class Iteration {
 public:
  Iteration(const Selection& selection, std::shared_ptr<Planners> planners, int layer, int images)
      : planners_(std::move(planners)),
        image_(selection.image),
        size_(static_cast<std::size_t>(image_.positions()) * 3),
        layer_(layer),
        images_(images) {}

  Operation make(Planner& planner, CpuDevice& device) const {
    const auto batch = std::make_shared<Batch>(start(planner));
    const auto program = std::make_shared<StageProgram>(stage(), 0, 0);
    const auto run_batch = [self = *this, program](Batch& on) {
      on.passes->loss_and_gradient(on.images.data(), on.losses.data(), on.gradients.data());
      parallel_for(self.images_, [&](int i) {
        const auto own = on.gradients.span().subspan(self.size_ * i, self.size_);
        program->step(1, sum_of_squares(own), own, {}, on.images.span().subspan(self.size_ * i, self.size_),
                      {});
      });
    };
    return {.work = {.operations = planners_->network.iteration_flops(layer_, image_) * images_},
            .ceilings = device.ceilings(kernels().name),
            .run = [=](int) { run_batch(*batch); },
            .check =
                [=, self = *this] {
                  Batch exact = self.start(self.planners_->smallest);
                  run_batch(exact);
                  return self.compare(*batch, exact);
                },
            .label = batch->passes->plan().describe(planners_->network)};
  }

 private:
  static const Stage& stage() { return find_recipe("seed").first(); }

  Batch start(Planner& planner) const {
    const int filter_count = planners_->network.convolutions[layer_].out_channels;
    std::vector<int> filters(images_);
    for (int i = 0; i < images_; ++i) filters[i] = i % filter_count;
    Batch batch{std::make_unique<NetworkPasses>(planners_->network, planners_->weights, stage(), planner,
                                                planner.make(layer_, images_), filters),
                AlignedBuffer<float>(size_ * images_), poisoned(size_ * images_),
                std::vector<double>(images_, NAN)};
    for (int i = 0; i < images_; ++i) {
      draw_start(stage().start, 0, {layer_, i}, batch.images.span().subspan(size_ * i, size_));
    }
    return batch;
  }

  // Compares with the smallest tiles, which are closer to exact arithmetic. If rounding changes a ReLU mask
  // or the argmax of a pool window, a gradient differs in a few positions.
  std::string compare(const Batch& batch, const Batch& exact) const {
    Comparison comparison;
    const double scale = std::ranges::max(exact.losses);
    for (int image = 0; image < images_; ++image) {
      comparison.near(batch.losses[image], exact.losses[image], 1e-4 * scale,
                      [&] { return fmt::format("the loss of image {}", image); });
      double difference = 0;
      double norm = 0;
      for (std::size_t i = size_ * image; i < size_ * (image + 1); ++i) {
        difference += std::pow(double{batch.gradients.data()[i]} - exact.gradients.data()[i], 2);
        norm += std::pow(double{exact.gradients.data()[i]}, 2);
      }
      comparison.near(norm == 0 ? difference : std::sqrt(difference / norm), 0, 0.15,
                      [&] { return fmt::format("the error of image {}'s gradient", image); });
    }
    return comparison.complaint();
  }

  std::shared_ptr<Planners> planners_;
  Extent image_;
  std::size_t size_;
  int layer_;
  int images_;
};

}  // namespace

void add_cpu_iterations(const Selection& selection, const std::shared_ptr<CpuDevice>& device) {
  // Made when the first of these benchmarks is run.
  const auto planners = [selection, made = std::make_shared<std::shared_ptr<Planners>>()] {
    if (!*made) *made = std::make_shared<Planners>(selection.network, selection.image);
    return *made;
  };
  for (int layer = 0; layer < selection.network.layer_count(); ++layer) {
    for (const bool automatic : {true, false}) {
      for (const int images : selection.cpu_batches) {
        add(fmt::format("cpu/iteration/{}/{}/batch:{}", selection.network.convolutions[layer].name,
                        automatic ? "automatic" : "fixed", images),
            device, [=] {
              const auto shared = planners();
              return Iteration(selection, shared, layer, images)
                  .make(automatic ? shared->automatic : shared->fixed, *device);
            });
      }
    }
  }
}

}  // namespace filterscope::bench
