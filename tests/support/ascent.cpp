#include <cassert>
#include <cmath>
#include <vector>

#include "operations.h"
#include "reference.h"

namespace filterscope::reference {

Map ascent_step(const Recipe& recipe, const Map& image, const Map& gradient) {
  assert(image.values.size() == gradient.values.size());
  Map next = image;
  std::vector<Values> state;
  step(recipe.first(), 1, gradient.values, state, next.values);
  return next;
}

namespace {

// One stage of one filter.
class Climb {
 public:
  Climb(const Network& network, const Weights& weights, const Stage& stage, std::uint64_t seed, FilterId id,
        int earlier)
      : network_(network), weights_(weights), stage_(stage), seed_(seed), id_(id), earlier_(earlier) {}

  void start() {
    const Extent extent = stage_.extent;
    const bool fourier = stage_.parameterisation.kind == Parameterisation::Kind::fourier;
    const int columns = fourier ? 2 * (extent.width / 2 + 1) : extent.width;
    parameters_ =
        start_values(stage_.start, seed_, id_, static_cast<std::size_t>(extent.height) * columns * 3);
    if (fourier) return;
    Map image(extent, 3);
    image.values = parameters_;
    start_from(image);
  }
  void start_from(const Map& image) { parameters_ = parameters_of(stage_.parameterisation, image); }

  Gradient judge(int iteration) {
    if (iteration > 0 && !stage_.kept_transforms.empty()) keep(iteration);
    image_ = to_image(stage_.parameterisation, stage_.extent, parameters_);
    const Map canvas = shown(iteration);
    return loss_and_gradient(network_, weights_, stage_.input_mapping, stage_.objective, id_.layer,
                             id_.filter, canvas);
  }

  // Returns the norm of the gradient with respect to the parameters.
  double climb(int iteration, const Gradient& judged) {
    Map gradient = stage_.transforms.empty()
                       ? judged.gradient
                       : warp_adjoint(map_of(iteration), judged.gradient, stage_.extent);
    for (const Regulariser& regulariser : stage_.regularisers) {
      const Map penalty = penalty_gradient(regulariser, image_);
      for (std::size_t i = 0; i < gradient.values.size(); ++i) gradient.values[i] -= penalty.values[i];
    }
    const Values own = parameters_gradient(stage_.parameterisation, image_, gradient);
    step(stage_, iteration, own, state_, parameters_);
    double squares = 0;
    for (const double value : own) squares += value * value;
    return std::sqrt(squares);
  }

  const Map& image() const { return image_; }

 private:
  AffineMap map_of(int iteration) const {
    return reference::draw_map(stage_.transforms, seed_, id_, iteration == 0 ? 0 : earlier_ + iteration);
  }
  Map shown(int iteration) const {
    if (stage_.transforms.empty()) return image_;
    return warp(map_of(iteration), stage_.transforms.border, stage_.transforms.value, image_,
                canvas_extent(stage_));
  }
  void keep(int iteration) {
    Map image(stage_.extent, 3);
    image.values = parameters_;
    parameters_ = keep_transforms(stage_.kept_transforms, seed_, id_, earlier_ + iteration, image).values;
  }

  const Network& network_;
  const Weights& weights_;
  const Stage& stage_;
  std::uint64_t seed_;
  FilterId id_;
  int earlier_;
  Values parameters_;
  std::vector<Values> state_;
  Map image_;
};

void climb_stage(Climb& climb, int iterations, Ascent& ascent) {
  for (int iteration = 1; iteration <= iterations; ++iteration) {
    const Gradient judged = climb.judge(iteration);
    ascent.losses.push_back(judged.loss);
    ascent.gradient_norm = climb.climb(iteration, judged);
  }
  ascent.final_loss = climb.judge(0).loss;
  ascent.image = climb.image();
}

}  // namespace

Ascent ascend(const Network& network, const Weights& weights, const Recipe& recipe, int layer, int filter,
              const Map& image, int iterations) {
  Ascent ascent;
  Stage stage = recipe.first();
  stage.extent = image.extent();
  Climb climb(network, weights, stage, 0, {layer, filter}, 0);
  climb.start_from(image);
  climb_stage(climb, iterations, ascent);
  return ascent;
}

Ascent ascend(const Network& network, const Weights& weights, const Recipe& recipe, std::uint64_t seed,
              int layer, int filter) {
  Ascent ascent;
  int earlier = 0;
  for (const Stage& stage : recipe.stages) {
    Climb climb(network, weights, stage, seed, {layer, filter}, earlier);
    if (earlier == 0) {
      climb.start();
    } else {
      climb.start_from(resample(stage.resampling, recipe.picture, ascent.image, stage.extent));
    }
    climb_stage(climb, stage.iterations, ascent);
    earlier += stage.iterations;
  }
  return ascent;
}

}  // namespace filterscope::reference
