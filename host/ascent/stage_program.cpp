#include "stage_program.h"

#include <algorithm>
#include <vector>

#include "operations/colour.h"
#include "operations/optimiser.h"
#include "operations/regularisers.h"
#include "operations/start.h"

namespace filterscope {

StageProgram::StageProgram(const Stage& stage, std::uint64_t seed, int earlier)
    : stage_(stage),
      seed_(seed),
      earlier_(earlier),
      canvas_(canvas_extent(stage)),
      holds_image_(stage.parameterisation.kind == Parameterisation::Kind::pixels &&
                   stage.parameterisation.colour == Parameterisation::Colour::as_is &&
                   stage.parameterisation.range == Parameterisation::Range::unbounded) {
  if (stage.parameterisation.kind == Parameterisation::Kind::fourier)
    fourier_.emplace(stage.extent, stage.parameterisation.decay);
}

std::size_t StageProgram::state() const {
  return static_cast<std::size_t>(optimiser_state(stage_.optimiser)) * parameters();
}

bool StageProgram::rests_without_gradient() const {
  return stage_.transforms.empty() && stage_.kept_transforms.empty() && stage_.regularisers.empty() &&
         stage_.optimiser.kind == Optimiser::Kind::ascent && stage_.optimiser.weight_decay == 0.f &&
         stage_.after_step == AfterStep{};
}

void StageProgram::start(FilterId id, std::span<float> parameters) const {
  draw_start(stage_.start, seed_, id, parameters);
  if (!fourier_) from_image(stage_.parameterisation, parameters);
}

void StageProgram::start_from(std::span<const float> image, std::span<float> parameters) const {
  if (!fourier_) {
    std::ranges::copy(image, parameters.begin());
    from_image(stage_.parameterisation, parameters);
    return;
  }
  std::vector<float> values(image.begin(), image.end());
  from_image(stage_.parameterisation, values);
  fourier_->from_image(values, parameters);
}

void StageProgram::to_image(std::span<const float> parameters, std::span<float> image) const {
  if (fourier_) {
    fourier_->to_image(parameters, image);
  } else {
    std::ranges::copy(parameters, image.begin());
  }
  filterscope::to_image(stage_.parameterisation, image);
}

void StageProgram::keep_transforms(FilterId id, int iteration, std::span<float> image,
                                   std::span<float> scratch) const {
  apply_kept_transforms(stage_.kept_transforms, seed_, id, earlier_ + iteration, stage_.extent, image,
                        scratch);
}

AffineMap StageProgram::map_of(FilterId id, int iteration) const {
  return draw_map(stage_.transforms, seed_, id, iteration == 0 ? 0 : earlier_ + iteration);
}

void StageProgram::to_canvas(FilterId id, int iteration, std::span<const float> image,
                             std::span<float> canvas) const {
  warp(map_of(id, iteration), stage_.transforms.border, stage_.transforms.value, image, stage_.extent, canvas,
       canvas_);
}

void StageProgram::to_parameters(FilterId id, int iteration, std::span<const float> image,
                                 std::span<const float> canvas_gradient, std::span<float> scratch,
                                 std::span<float> gradient) const {
  const std::span<float> image_gradient = holds_image_ ? gradient : scratch;
  if (!shows_image()) {
    warp_adjoint(map_of(id, iteration), canvas_gradient, canvas_, image_gradient, stage_.extent);
  } else if (image_gradient.data() != canvas_gradient.data()) {
    std::ranges::copy(canvas_gradient, image_gradient.begin());
  }
  for (const Regulariser& regulariser : stage_.regularisers)
    add_penalty_gradient(regulariser, stage_.extent, image, image_gradient);
  if (holds_image_) return;
  image_adjoint(stage_.parameterisation, image, image_gradient);
  if (fourier_) {
    fourier_->adjoint(image_gradient, gradient);
  } else if (gradient.data() != image_gradient.data()) {
    std::ranges::copy(image_gradient, gradient.begin());
  }
}

void StageProgram::step(int iteration, double sum_of_squares, std::span<const float> gradient,
                        std::span<float> state, std::span<float> parameters, std::span<float> scratch) const {
  // A gradient of zero stays one, whatever the norm.
  const double divisor =
      sum_of_squares == 0 ? 1 : normalisation_divisor(stage_.normalisation, sum_of_squares, gradient.size());
  take_step(stage_, iteration, divisor, gradient, state, parameters);
  const AfterStep& after = stage_.after_step;
  if (after.blur_every > 0 && iteration % after.blur_every == 0)
    blur(after.blur_deviation, stage_.extent, parameters, scratch);
}

}  // namespace filterscope
