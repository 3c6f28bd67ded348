#include "ascent_program.h"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "../ascent/operations/optimiser.h"
#include "../ascent/stage_program.h"
#include "image_parameters.h"
#include "image_transforms.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/image/blur.h"
#include "kernels/image/noise.h"
#include "kernels/image/penalties.h"
#include "kernels/image/start.h"
#include "kernels/optimiser/normalise_and_step.h"
#include "kernels/optimiser/sum_of_squares.h"
#include "nvtx.h"
#include "picture_encoder.h"
#include "runtime.h"
#include "stage_arguments.h"

namespace filterscope::cuda {

namespace {

// What the arrays of a stage hold, in floats for all images; 0 where another array serves.
struct Sizes {
  Sizes(const Stage& stage, int images_count)
      : holds_image(ImageParameters::are_image(stage.parameterisation)),
        shows_image(stage.transforms.empty()),
        canvas(canvas_extent(stage)),
        per_image(static_cast<int>(ImageParameters::size(stage.parameterisation, stage.extent))) {
    const auto count = static_cast<std::size_t>(images_count);
    const std::size_t image = count * stage.extent.positions() * 3;
    parameters = count * per_image;
    state = optimiser_state(stage.optimiser) * parameters;
    images = holds_image ? 0 : image;
    canvas_gradients = count * canvas.positions() * 3;
    canvases = shows_image ? 0 : canvas_gradients;
    image_gradients = shows_image ? 0 : image;
    scratch = !stage.kept_transforms.empty() || stage.after_step.blur_every > 0 ? image : 0;
    squares = count * std::max(canvas_parts(), kernels::square_parts(per_image));
  }

  // Sums of squares that the passes leave of an image.
  int canvas_parts() const { return kernels::image_gradient_parts(canvas.height, canvas.width); }
  std::size_t sum() const {
    return parameters + state + images + canvases + canvas_gradients + image_gradients + scratch + squares;
  }

  bool holds_image;  // The parameters are the image.
  bool shows_image;  // The network sees the image as it is.
  Extent canvas;
  int per_image;  // Parameters of an image.
  std::size_t parameters;
  std::size_t state;
  std::size_t images;
  std::size_t canvases;
  std::size_t canvas_gradients;
  std::size_t image_gradients;
  std::size_t scratch;
  std::size_t squares;
};

int iterations_before(const Recipe& recipe, std::size_t stage) {
  int sum = 0;
  for (std::size_t i = 0; i < stage; ++i) sum += recipe.stages[i].iterations;
  return sum;
}

class Program final : public AscentProgram {
 public:
  Program(const Recipe& recipe, std::size_t number, std::uint64_t seed, int images);

  void start(const int* layers, const int* filters, cudaStream_t stream) override;
  void start_from(const float* images, const int* layers, const int* filters, cudaStream_t stream) override;
  void start_after(const AscentProgram& before, const int* layers, const int* filters,
                   cudaStream_t stream) override;
  void show(const kernels::AscentState& state, cudaStream_t stream) override;
  void show_at_rest(cudaStream_t stream) override;
  const float* canvases() const override { return sizes_.shows_image ? images() : canvases_.data(); }
  float* canvas_gradients() override { return canvas_gradients_.data(); }
  float* squares() override { return squares_.data(); }
  void step(const kernels::AscentState& state, cudaStream_t stream) override;
  const float* images() const override { return own_images(); }
  Extent extent() const override { return stage_.extent; }
  void encode(std::uint8_t* pictures, cudaStream_t stream) override {
    encoder_(images(), pictures, count_, stream);
  }

 private:
  float* own_images() const { return sizes_.holds_image ? parameters_.data() : images_.data(); }

  void begin(const int* layers, const int* filters, cudaStream_t stream);
  void make_images(cudaStream_t stream);
  const float* differentiate(cudaStream_t stream);
  void subtract_penalties(float* gradients, cudaStream_t stream);
  void take_step(const kernels::AscentState& state, const float* gradients, int parts, cudaStream_t stream);
  void blur(const kernels::AscentState& state, cudaStream_t stream);

  const Stage stage_;
  const int count_;
  const int earlier_;  // Iterations of the stages before.
  const std::uint64_t seed_;
  const Sizes sizes_;
  const bool rests_;  // An image whose gradient is zero stays as it is.
  const ImageParameters parameterisation_;
  const ImageTransforms transforms_;
  const ImageTransforms kept_transforms_;
  const PictureEncoder encoder_;
  std::optional<Resampler> resampler_;  // From the extent of the stage before.

  ImageIds ids_{};
  DeviceBuffer<float> parameters_;
  DeviceBuffer<float> state_;
  DeviceBuffer<float> images_;
  DeviceBuffer<float> canvases_;
  DeviceBuffer<float> canvas_gradients_;
  DeviceBuffer<float> image_gradients_;
  DeviceBuffer<float> scratch_;
  DeviceBuffer<float> squares_;
  DeviceBuffer<float> blur_weights_;
};

Program::Program(const Recipe& recipe, std::size_t number, std::uint64_t seed, int images)
    : stage_(recipe.stages[number]),
      count_(images),
      earlier_(iterations_before(recipe, number)),
      seed_(seed),
      sizes_(stage_, images),
      rests_(StageProgram(stage_, seed, earlier_).rests_without_gradient()),
      parameterisation_(stage_.parameterisation, stage_.extent, images),
      transforms_(stage_.transforms, RandomStream::transforms, seed, stage_.extent, sizes_.canvas, images),
      kept_transforms_(stage_.kept_transforms, RandomStream::kept_transforms, seed, stage_.extent,
                       stage_.extent, images),
      encoder_(recipe, stage_.extent),
      parameters_(sizes_.parameters),
      state_(sizes_.state),
      images_(sizes_.images),
      canvases_(sizes_.canvases),
      canvas_gradients_(sizes_.canvas_gradients),
      image_gradients_(sizes_.image_gradients),
      scratch_(sizes_.scratch),
      squares_(sizes_.squares) {
  if (number > 0)
    resampler_.emplace(stage_.resampling, recipe.picture, recipe.stages[number - 1].extent, stage_.extent);
  if (stage_.after_step.blur_every > 0) {
    const std::vector<float> weights = filterscope::blur_weights(stage_.after_step.blur_deviation);
    blur_weights_ = DeviceBuffer<float>(std::span<const float>(weights));
  }
}

void Program::begin(const int* layers, const int* filters, cudaStream_t stream) {
  ids_ = {layers, filters};
  if (state_.size() == 0) return;
  check(cudaMemsetAsync(state_.data(), 0, state_.size() * sizeof(float), stream), "clearing a state");
}

void Program::start(const int* layers, const int* filters, cudaStream_t stream) {
  begin(layers, filters, stream);
  const Start& start = stage_.start;
  switch (start.kind) {
    case Start::Kind::uniform:
      kernels::noise({.images = parameters_.data(),
                      .layers = layers,
                      .filters = filters,
                      .images_count = count_,
                      .values_per_image = sizes_.per_image,
                      .seed = seed_,
                      .low = start.low,
                      .high = start.high},
                     stream);
      break;
    case Start::Kind::gaussian:
      kernels::gaussian_noise({.values = parameters_.data(),
                               .layers = layers,
                               .filters = filters,
                               .images_count = count_,
                               .values_per_image = sizes_.per_image,
                               .seed = seed_,
                               .mean = start.mean,
                               .deviation = start.deviation},
                              stream);
      break;
    case Start::Kind::constant:
      kernels::fill(parameters_.data(), static_cast<std::int64_t>(sizes_.parameters), start.value, stream);
      break;
  }
  // The start of pixels is the image.
  if (stage_.parameterisation.kind == Parameterisation::Kind::pixels)
    parameterisation_.from_images(parameters_.data(), parameters_.data(), stream);
}

void Program::start_from(const float* images, const int* layers, const int* filters, cudaStream_t stream) {
  begin(layers, filters, stream);
  parameterisation_.from_images(images, parameters_.data(), stream);
}

void Program::start_after(const AscentProgram& before, const int* layers, const int* filters,
                          cudaStream_t stream) {
  begin(layers, filters, stream);
  (*resampler_)(before.images(), own_images(), count_, stream);
  parameterisation_.from_images(own_images(), parameters_.data(), stream);
}

void Program::make_images(cudaStream_t stream) {
  if (sizes_.holds_image) return;
  const nvtx::Range range("parameters to images");
  parameterisation_.to_images(parameters_.data(), images_.data(), stream);
}

void Program::show(const kernels::AscentState& state, cudaStream_t stream) {
  make_images(stream);
  if (!stage_.kept_transforms.empty()) {
    const nvtx::Range range("kept transforms");
    kept_transforms_.keep(state, ids_, own_images(), scratch_.data(), stream);
  }
  if (sizes_.shows_image) return;
  const nvtx::Range range("transforms");
  transforms_.show(state, ids_, images(), canvases_.data(), stream);
}

void Program::show_at_rest(cudaStream_t stream) {
  make_images(stream);
  if (!sizes_.shows_image) transforms_.show_at_rest(images(), canvases_.data(), stream);
}

// From the gradients of canvases to those of parameters, which it returns.
const float* Program::differentiate(cudaStream_t stream) {
  float* gradients = canvas_gradients_.data();
  if (!sizes_.shows_image) {
    const nvtx::Range range("adjoint of transforms");
    gradients = image_gradients_.data();
    transforms_.adjoint(canvas_gradients_.data(), gradients, stream);
  }
  subtract_penalties(gradients, stream);
  if (sizes_.holds_image) return gradients;
  const nvtx::Range range("images to parameters");
  return parameterisation_.adjoint(images(), gradients, stream);
}

void Program::subtract_penalties(float* gradients, cudaStream_t stream) {
  if (stage_.regularisers.empty()) return;
  const nvtx::Range range("penalties");
  const auto values = static_cast<int>(stage_.extent.positions()) * 3;
  kernels::PenaltyArguments local{.images = images(),
                                  .gradients = gradients,
                                  .images_count = count_,
                                  .height = stage_.extent.height,
                                  .width = stage_.extent.width};
  for (const Regulariser& regulariser : stage_.regularisers) {
    const float weight = regulariser.weight / static_cast<float>(values);
    switch (regulariser.kind) {
      case Regulariser::Kind::total_variation_l1:
        local.variation_l1 += weight;
        break;
      case Regulariser::Kind::total_variation_l2:
        local.variation_l2 += weight;
        break;
      case Regulariser::Kind::mean_magnitude:
        local.magnitude += weight;
        break;
      case Regulariser::Kind::lp_norm:
        kernels::norm_penalty_gradient({.images = images(),
                                        .gradients = gradients,
                                        .images_count = count_,
                                        .values_per_image = values,
                                        .weight = weight,
                                        .power = regulariser.power},
                                       stream);
        break;
    }
  }
  if (local.variation_l1 != 0.f || local.variation_l2 != 0.f || local.magnitude != 0.f)
    kernels::penalty_gradient(local, stream);
}

void Program::step(const kernels::AscentState& state, cudaStream_t stream) {
  const float* const gradients = differentiate(stream);
  // The passes left the sums of squares of the canvases' gradients.
  const bool untouched = sizes_.holds_image && sizes_.shows_image && stage_.regularisers.empty();
  const int parts = untouched ? sizes_.canvas_parts() : kernels::square_parts(sizes_.per_image);
  if (!untouched) {
    const nvtx::Range range("sum of squares");
    kernels::sum_of_squares(gradients, squares_.data(), count_, sizes_.per_image, stream);
  }
  take_step(state, gradients, parts, stream);
  if (stage_.after_step.blur_every > 0) blur(state, stream);
}

void Program::take_step(const kernels::AscentState& state, const float* gradients, int parts,
                        cudaStream_t stream) {
  const nvtx::Range range("normalise and step");
  const GradientNormalisation& normalisation = stage_.normalisation;
  if (rests_ && normalisation.kind == GradientNormalisation::Kind::l2 &&
      normalisation.epsilon_place == GradientNormalisation::EpsilonPlace::least_sum) {
    // All that is left of a step.
    kernels::normalise_and_step({.images = parameters_.data(),
                                 .gradients = gradients,
                                 .squares = squares_.data(),
                                 .parts = parts,
                                 .step = stage_.optimiser.step,
                                 .epsilon = normalisation.epsilon,
                                 .state = state,
                                 .images_count = count_,
                                 .values_per_image = sizes_.per_image},
                                stream);
    return;
  }
  kernels::optimiser_step(
      {.parameters = parameters_.data(),
       .gradients = gradients,
       .squares = squares_.data(),
       .parts = parts,
       .first = state_.data(),
       .second = sizes_.state > sizes_.parameters ? state_.data() + sizes_.parameters : nullptr,
       .normalisation = normalisation_rule(normalisation),
       .optimiser = optimiser_rule(stage_.optimiser, stage_.after_step),
       .stops_when_still = rests_,
       .earlier = earlier_,
       .state = state,
       .images_count = count_,
       .values_per_image = sizes_.per_image},
      stream);
}

void Program::blur(const kernels::AscentState& state, cudaStream_t stream) {
  const nvtx::Range range("blur");
  kernels::blur({.images = parameters_.data(),
                 .scratch = scratch_.data(),
                 .weights = blur_weights_.data(),
                 .radius = static_cast<int>(blur_weights_.size()) / 2,
                 .every = stage_.after_step.blur_every,
                 .earlier = earlier_,
                 .state = state,
                 .images_count = count_,
                 .height = stage_.extent.height,
                 .width = stage_.extent.width},
                stream);
}

}  // namespace

std::unique_ptr<AscentProgram> make_ascent_program(const Recipe& recipe, std::size_t stage,
                                                   std::uint64_t seed, int images) {
  return std::make_unique<Program>(recipe, stage, seed, images);
}

std::size_t program_bytes(const Recipe& recipe, std::size_t number, int images) {
  const Stage& stage = recipe.stages[number];
  std::size_t bytes = Sizes(stage, images).sum() * sizeof(float) +
                      ImageParameters::bytes(stage.parameterisation, stage.extent, images) +
                      ImageTransforms::bytes(stage.transforms, images) +
                      ImageTransforms::bytes(stage.kept_transforms, images) +
                      PictureEncoder::bytes(recipe, stage.extent);
  if (number > 0) bytes += Resampler::bytes(recipe.stages[number - 1].extent, stage.extent);
  if (stage.after_step.blur_every > 0)
    bytes += filterscope::blur_weights(stage.after_step.blur_deviation).size() * sizeof(float);
  return bytes;
}

}  // namespace filterscope::cuda
