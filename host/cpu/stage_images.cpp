#include "stage_images.h"

#include <algorithm>

#include "../ascent/operations/optimiser.h"
#include "../base/threads.h"

namespace filterscope::cpu {

namespace {

// Floats of each array for one image; 0 where another array serves.
struct Sizes {
  explicit Sizes(const StageProgram& program)
      : parameters(program.parameters()),
        state(program.state()),
        image(program.holds_image() ? 0 : program.image_size()),
        canvas(program.shows_image() ? 0 : program.canvas_size()),
        canvas_gradient(program.canvas_size()),
        gradient(program.holds_image() && program.shows_image() ? 0 : program.parameters()) {
    const Stage& stage = program.stage();
    const bool scratches =
        !program.holds_image() || !stage.kept_transforms.empty() || stage.after_step.blur_every > 0;
    scratch = scratches ? program.image_size() : 0;
  }
  std::size_t sum() const {
    return parameters + state + image + canvas + canvas_gradient + gradient + scratch;
  }

  std::size_t parameters;
  std::size_t state;
  std::size_t image;
  std::size_t canvas;
  std::size_t canvas_gradient;
  std::size_t gradient;
  std::size_t scratch;
};

}  // namespace

StageImages::StageImages(const StageProgram& program, std::span<const FilterId> filters)
    : program_(program), filters_(filters.begin(), filters.end()) {
  const Sizes sizes(program);
  const auto allocate = [&](std::size_t size) { return AlignedBuffer<float>(size * filters.size()); };
  parameters_ = allocate(sizes.parameters);
  states_ = allocate(sizes.state);
  images_ = allocate(sizes.image);
  canvases_ = allocate(sizes.canvas);
  canvas_gradients_ = allocate(sizes.canvas_gradient);
  gradients_ = allocate(sizes.gradient);
  scratch_ = allocate(sizes.scratch);
  std::ranges::fill(states_.span(), 0.f);
}

std::size_t StageImages::bytes(const StageProgram& program) {
  return Sizes(program).sum() * sizeof(float);
}

void StageImages::start() {
  parallel_for(count(), [&](int i) {
    program_.start(filters_[i], row(parameters_.data(), program_.parameters(), i));
  });
}

void StageImages::start_from(int i, std::span<const float> image) {
  program_.start_from(image, row(parameters_.data(), program_.parameters(), i));
}

void StageImages::show(int iteration) {
  const bool keeps = iteration > 0 && !program_.stage().kept_transforms.empty();
  if (program_.holds_image() && program_.shows_image() && !keeps) return;
  const std::size_t size = program_.image_size();
  parallel_for(count(), [&](int i) {
    const std::span<float> image = row(images(), size, i);
    if (!program_.holds_image()) program_.to_image(row(parameters_.data(), program_.parameters(), i), image);
    if (keeps) program_.keep_transforms(filters_[i], iteration, image, row(scratch_.data(), size, i));
    if (!program_.shows_image()) {
      program_.to_canvas(filters_[i], iteration, image, row(canvases_.data(), program_.canvas_size(), i));
    }
  });
}

void StageImages::differentiate(int iteration, std::span<double> squares) {
  const bool direct =
      program_.holds_image() && program_.shows_image() && program_.stage().regularisers.empty();
  parallel_for(count(), [&](int i) {
    const std::span<float> gradient = row(gradients(), program_.parameters(), i);
    if (!direct) {
      const std::span<float> scratch =
          scratch_.size() > 0 ? row(scratch_.data(), program_.image_size(), i) : std::span<float>();
      program_.to_parameters(filters_[i], iteration, image(i),
                             row(canvas_gradients_.data(), program_.canvas_size(), i), scratch, gradient);
    }
    squares[i] = sum_of_squares(gradient);
  });
}

void StageImages::step(int iteration, int i, double sum_of_squares) {
  program_.step(iteration, sum_of_squares, row(gradients(), program_.parameters(), i),
                row(states_.data(), program_.state(), i), row(parameters_.data(), program_.parameters(), i),
                scratch_.size() > 0 ? row(scratch_.data(), program_.image_size(), i) : std::span<float>());
}

}  // namespace filterscope::cpu
