#include "host/cuda/ascent_program.h"

#include <gmock/gmock.h>

#include <functional>

#include "host/ascent/operations/optimiser.h"
#include "host/ascent/operations/picture.h"
#include "host/ascent/stage_program.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/head/loss_trace.h"
#include "tests/kernels/image/images.h"
#include "tests/kernels/optimiser/state.h"

namespace filterscope {
namespace {

using kernels::AscentStatus;
using Kind = Transform::Kind;

class AscentProgramTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(AscentProgramTest);

constexpr std::uint64_t kSeed = 77;
const std::vector<FilterId> kIds{{0, 3}, {2, 3}, {2, 9}};

// A network whose loss is the sum of w / 2 * x^2 over the canvas, so that its gradient is w * x.
std::vector<float> gradient_of(std::span<const float> canvas) {
  std::vector<float> gradient = test::random_values(canvas.size(), 5, 0.5f, 1.5f);
  for (std::size_t i = 0; i < canvas.size(); ++i) gradient[i] *= canvas[i];
  return gradient;
}

// The images of some filters on the device, with their ascent's state.
class Climb {
 public:
  Climb(const Recipe& recipe, std::vector<FilterId> ids) : ids_(std::move(ids)), state_(count()) {
    std::vector<int> layers;
    std::vector<int> filters;
    for (const FilterId id : ids_) {
      layers.push_back(id.layer);
      filters.push_back(id.filter);
    }
    layers_ = test::upload(layers);
    filters_ = test::upload(filters);
    for (std::size_t stage = 0; stage < recipe.stages.size(); ++stage)
      programs_.push_back(cuda::make_ascent_program(recipe, stage, kSeed, count()));
    kernels::start_ascent(state_.pointers(), count(), nullptr);
  }

  int count() const { return static_cast<int>(ids_.size()); }
  cuda::AscentProgram& program() { return *programs_[stage_]; }
  const test::State& state() const { return state_; }

  void start() { program().start(layers_.data(), filters_.data(), nullptr); }
  void start_from(const std::vector<float>& images) {
    const auto device_images = test::upload(images);
    program().start_from(device_images.data(), layers_.data(), filters_.data(), nullptr);
    cuda::check(cudaDeviceSynchronize(), "starting");
  }
  void next_stage() {
    program().show_at_rest(nullptr);
    ++stage_;
    program().start_after(*programs_[stage_ - 1], layers_.data(), filters_.data(), nullptr);
  }
  void iterate() {
    program().show(state_.pointers(), nullptr);
    give_gradients();
    program().step(state_.pointers(), nullptr);
    cuda::check(cudaDeviceSynchronize(), "stepping");
  }
  // What the passes do between show() and step(), and the recording of losses.
  void give_gradients() {
    const std::size_t size = canvas_size();
    const std::vector<float> canvases = copy(program().canvases(), count() * size);
    const int parts = kernels::image_gradient_parts(canvas_.height, canvas_.width);
    std::vector<float> gradients;
    std::vector<float> squares(static_cast<std::size_t>(count()) * parts, 0.f);
    for (int i = 0; i < count(); ++i) {
      const std::vector<float> gradient = gradient_of(test::image_of(canvases, i, size));
      squares[static_cast<std::size_t>(i + 1) * parts - 1] = static_cast<float>(sum_of_squares(gradient));
      gradients.insert(gradients.end(), gradient.begin(), gradient.end());
    }
    put(program().canvas_gradients(), gradients);
    put(program().squares(), squares);
    ++iteration_;
    test::store(state_.iteration, 0, iteration_);
    put(state_.losses.data(), std::vector<float>(count(), 1.f));
  }
  std::vector<float> images() {
    program().show_at_rest(nullptr);
    return copy(program().images(), count() * test::image_size(program().extent()));
  }
  std::vector<std::uint8_t> pictures(Extent extent) {
    program().show_at_rest(nullptr);
    const auto result = test::poisoned<std::uint8_t>(count() * test::image_size(extent));
    program().encode(result.data(), nullptr);
    return test::download(result);
  }
  void set_canvas(Extent canvas) { canvas_ = canvas; }

 private:
  std::size_t canvas_size() const { return test::image_size(canvas_); }
  template <class T>
  static void put(T* to, const std::vector<T>& values) {
    cuda::check(cudaMemcpy(to, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copying");
  }
  static std::vector<float> copy(const float* from, std::size_t count) {
    cuda::check(cudaDeviceSynchronize(), "running");
    return cuda::to_host(from, count);
  }

  std::vector<FilterId> ids_;
  test::State state_;
  cuda::DeviceBuffer<int> layers_;
  cuda::DeviceBuffer<int> filters_;
  std::vector<std::unique_ptr<cuda::AscentProgram>> programs_;
  std::size_t stage_ = 0;
  Extent canvas_{};
  int iteration_ = 0;
};

// The same on the host, of one image.
std::vector<float> host_start(const StageProgram& program, FilterId id) {
  std::vector<float> parameters = test::poison(program.parameters());
  program.start(id, parameters);
  return parameters;
}
std::vector<float> host_image(const StageProgram& program, std::vector<float> parameters) {
  if (program.holds_image()) return parameters;
  std::vector<float> image = test::poison(program.image_size());
  program.to_image(parameters, image);
  return image;
}
void host_climb(const StageProgram& program, FilterId id, int iterations, std::vector<float>& parameters) {
  std::vector<float> state(program.state(), 0.f);
  std::vector<float> scratch = test::poison(program.image_size());
  for (int iteration = 1; iteration <= iterations; ++iteration) {
    std::vector<float> image = host_image(program, parameters);
    program.keep_transforms(id, iteration, image, scratch);
    if (program.holds_image()) parameters = image;
    std::vector<float> canvas = image;
    if (!program.shows_image()) {
      canvas = test::poison(program.canvas_size());
      program.to_canvas(id, iteration, image, canvas);
    }
    std::vector<float> gradient = test::poison(program.parameters());
    program.to_parameters(id, iteration, image, gradient_of(canvas), scratch, gradient);
    program.step(iteration, sum_of_squares(gradient), gradient, state, parameters, scratch);
  }
}

struct Case {
  std::string name;
  Stage stage;
};

std::vector<Case> cases() {
  Stage plain;
  plain.extent = {9, 11};
  plain.iterations = 4;
  std::vector<Case> all{{"seed", plain}};
  all.front().stage.extent = {17, 18};  // Its gradients come with four sums of squares.
  const auto add = [&](const char* name, const std::function<void(Stage&)>& change) {
    Stage stage = plain;
    stage.optimiser.epsilon = 1e-3f;  // So that rounding errors of small gradients stay small.
    change(stage);
    all.push_back({name, stage});
  };
  add("clear", [](Stage& stage) {
    stage.start = {.kind = Start::Kind::gaussian, .deviation = 0.3f};
    stage.parameterisation = {.kind = Parameterisation::Kind::fourier,
                              .colour = Parameterisation::Colour::decorrelated,
                              .range = Parameterisation::Range::sigmoid};
    stage.transforms = {.list = {{.kind = Kind::pad, .pixels = 2},
                                 {.kind = Kind::rotate, .draw = {.low = -9, .high = 9}},
                                 {.kind = Kind::scale, .draw = {.choices = {0.95f, 1.f, 1.1f}}},
                                 {.kind = Kind::jitter, .pixels = 4}},
                        .value = 0.5f};
    stage.optimiser.kind = Optimiser::Kind::adam;
    stage.optimiser.step = 0.05f;
  });
  add("fourier, shown as it is", [](Stage& stage) {
    stage.extent = {10, 8};
    stage.parameterisation = {.kind = Parameterisation::Kind::fourier,
                              .decay = 1.5f,
                              .colour = Parameterisation::Colour::standardised};
    stage.optimiser.weight_decay = 0.01f;
  });
  add("kept transforms and penalties", [](Stage& stage) {
    stage.kept_transforms = {.list = {{.kind = Kind::jitter, .pixels = 5, .border = Border::wrap},
                                      {.kind = Kind::rotate, .draw = {.low = -3, .high = 3}}},
                             .border = Border::reflect};
    stage.regularisers = {{Regulariser::Kind::total_variation_l1, 0.5f},
                          {Regulariser::Kind::mean_magnitude, 0.3f},
                          {Regulariser::Kind::lp_norm, 2.f, 3.f}};
    stage.normalisation.kind = GradientNormalisation::Kind::none;
    stage.optimiser.kind = Optimiser::Kind::rmsprop;
  });
  add("blur, decay and clip", [](Stage& stage) {
    stage.after_step = {
        .decay = 0.01f, .clip = AfterStep::Interval{0.1f, 0.8f}, .blur_every = 2, .blur_deviation = 0.7f};
    stage.optimiser.kind = Optimiser::Kind::momentum;
  });
  add("cropped pixels with a sigmoid", [](Stage& stage) {
    stage.parameterisation.range = Parameterisation::Range::sigmoid;
    stage.parameterisation.colour = Parameterisation::Colour::decorrelated;
    stage.transforms.list = {{.kind = Kind::crop, .pixels = 1}, {.kind = Kind::jitter, .pixels = 3}};
    stage.regularisers = {{Regulariser::Kind::total_variation_l2, 0.5f}};
    stage.normalisation = {GradientNormalisation::Kind::rms, 1e-5f,
                           GradientNormalisation::EpsilonPlace::added};
  });
  add("constant", [](Stage& stage) {
    stage.start = {.kind = Start::Kind::constant, .value = 0.3f};
    stage.normalisation.kind = GradientNormalisation::Kind::rms;
  });
  return all;
}

Recipe recipe_of(const Stage& stage) {
  Recipe recipe;
  recipe.stages = {stage};
  return recipe;
}

TEST_P(AscentProgramTest, ClimbsLikeTheHost) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    Climb climb(recipe_of(test.stage), kIds);
    climb.set_canvas(canvas_extent(test.stage));
    climb.start();
    const StageProgram host(test.stage, kSeed, 0);
    std::vector<std::vector<float>> parameters;
    for (const FilterId id : kIds) parameters.push_back(host_start(host, id));
    const auto expect_alike = [&](double tolerance) {
      const std::vector<float> images = climb.images();
      for (std::size_t i = 0; i < kIds.size(); ++i) {
        test::expect_close(test::image_of(images, static_cast<int>(i), host.image_size()),
                           host_image(host, parameters[i]), tolerance);
      }
    };
    expect_alike(1e-5);
    for (int iteration = 0; iteration < test.stage.iterations; ++iteration) climb.iterate();
    for (std::size_t i = 0; i < kIds.size(); ++i)
      host_climb(host, kIds[i], test.stage.iterations, parameters[i]);
    // Steps of up to 0.1; each turns an error of a gradient by 1e-6 into one by at most 1e-3 of that.
    expect_alike(5e-5);
    EXPECT_THAT(test::download(climb.state().steps), testing::Each(test.stage.iterations));
  }
}

TEST_P(AscentProgramTest, NeighboursDoNotMatter) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    const auto images_of = [&](const std::vector<FilterId>& ids) {
      Climb climb(recipe_of(test.stage), ids);
      climb.set_canvas(canvas_extent(test.stage));
      climb.start();
      for (int iteration = 0; iteration < 3; ++iteration) climb.iterate();
      return climb.images();
    };
    const std::vector<float> together = images_of(kIds);
    for (std::size_t i = 0; i < kIds.size(); ++i) {
      EXPECT_TRUE(std::ranges::equal(
          images_of({kIds[i]}),
          test::image_of(together, static_cast<int>(i), test::image_size(test.stage.extent))));
    }
  }
}

// A graph of show() and step(), replayed, takes its iterations' draws from the state.
TEST_P(AscentProgramTest, ReplaysAsAGraph) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    Climb direct(recipe_of(test.stage), kIds);
    Climb replayed(recipe_of(test.stage), kIds);
    const cuda::Stream stream;
    for (Climb* climb : {&direct, &replayed}) {
      climb->set_canvas(canvas_extent(test.stage));
      climb->start();
      climb->iterate();
    }
    const kernels::AscentState state = replayed.state().pointers();
    const auto show = cuda::Graph::capture(stream, [&] { replayed.program().show(state, stream); });
    const auto step = cuda::Graph::capture(stream, [&] { replayed.program().step(state, stream); });
    for (int iteration = 0; iteration < 3; ++iteration) {
      direct.iterate();
      show.launch(stream);
      stream.synchronise();
      replayed.give_gradients();
      step.launch(stream);
      stream.synchronise();
    }
    EXPECT_EQ(replayed.images(), direct.images());
  }
}

TEST_P(AscentProgramTest, LeavesWhatDoesNotClimb) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    Climb climb(recipe_of(test.stage), kIds);
    climb.set_canvas(canvas_extent(test.stage));
    climb.start();
    climb.iterate();
    const std::vector<float> before = climb.images();
    test::store(climb.state().status, 1, AscentStatus::nonfinite);
    for (int iteration = 0; iteration < 3; ++iteration) climb.iterate();
    const std::vector<float> after = climb.images();
    const std::size_t size = test::image_size(test.stage.extent);
    EXPECT_TRUE(std::ranges::equal(test::image_of(after, 1, size), test::image_of(before, 1, size)));
    EXPECT_FALSE(std::ranges::equal(test::image_of(after, 0, size), test::image_of(before, 0, size)));
  }
}

TEST_P(AscentProgramTest, GivenImagesComeBack) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    Climb climb(recipe_of(test.stage), kIds);
    const std::vector<float> given =
        test::random_values(kIds.size() * test::image_size(test.stage.extent), 8, 0.1f, 0.9f);
    climb.start_from(given);
    test::expect_close(climb.images(), given, 2e-5);
  }
}

TEST_P(AscentProgramTest, LaterStagesStartFromTheirPredecessors) {
  const std::vector<Case> all = cases();
  for (std::size_t number = 0; number < all.size(); ++number) {
    Recipe recipe;
    recipe.stages = {all[number].stage, all[(number + 1) % all.size()].stage};
    recipe.stages.back().extent = {14, 12};
    recipe.stages.back().resampling = {.kind = Resampling::Kind::bicubic, .keep_moments = true};
    recipe.picture = {.kind = Picture::Kind::clip, .extent = Extent{9, 10}};
    SCOPED_TRACE(all[number].name);
    Climb climb(recipe, kIds);
    climb.set_canvas(canvas_extent(recipe.first()));
    climb.start();
    for (int iteration = 0; iteration < recipe.first().iterations; ++iteration) climb.iterate();
    const std::vector<float> first = climb.images();
    const std::vector<std::uint8_t> frames = climb.pictures(recipe.picture_extent());
    climb.next_stage();
    const std::vector<float> second_start = climb.images();
    climb.set_canvas(canvas_extent(recipe.last()));
    climb.iterate();
    climb.iterate();
    const std::vector<float> second = climb.images();
    const std::vector<std::uint8_t> pictures = climb.pictures(recipe.picture_extent());

    const StageProgram host(recipe.last(), kSeed, recipe.first().iterations);
    for (int i = 0; i < climb.count(); ++i) {
      const auto image = test::image_of(first, i, test::image_size(recipe.first().extent));
      std::vector<float> expected = test::poison(host.image_size());
      resample(recipe.last().resampling, recipe.picture, image, recipe.first().extent, expected,
               recipe.last().extent);
      std::vector<float> parameters = test::poison(host.parameters());
      host.start_from(expected, parameters);
      test::expect_close(test::image_of(second_start, i, host.image_size()), host_image(host, parameters),
                         3e-5);
      host_climb(host, kIds[i], 2, parameters);
      test::expect_close(test::image_of(second, i, host.image_size()), host_image(host, parameters), 1e-4);
      const std::size_t size = test::image_size(recipe.picture_extent());
      const auto expect_picture = [&](std::span<const std::uint8_t> found, std::span<const float> values) {
        const std::vector<std::uint8_t> bytes = encode_picture(recipe.picture, values, recipe.last().extent);
        for (std::size_t at = 0; at < size; ++at) ASSERT_NEAR(found[at], bytes[at], 1);
      };
      expect_picture(test::image_of(pictures, i, size), test::image_of(second, i, host.image_size()));
      std::vector<float> frame = test::poison(host.image_size());
      resample({}, recipe.picture, image, recipe.first().extent, frame, recipe.last().extent);
      expect_picture(test::image_of(frames, i, size), frame);
    }
  }
}

#if defined(FILTERSCOPE_EMULATED)
TEST_P(AscentProgramTest, StaysWithinItsMemory) {
  for (const Case& test : cases()) {
    SCOPED_TRACE(test.name);
    Recipe recipe;
    recipe.stages = {test.stage, test.stage, test.stage};
    recipe.stages[1].extent = {14, 12};
    recipe.stages[2].extent = {3, 50};
    recipe.picture.extent = Extent{20, 30};
    for (std::size_t stage = 0; stage < recipe.stages.size(); ++stage) {
      for (const int images : {1, 40}) {
        const std::size_t before = emulation::counters().allocated_bytes;
        const auto program = cuda::make_ascent_program(recipe, stage, kSeed, images);
        const std::size_t used = emulation::counters().allocated_bytes - before;
        EXPECT_LE(used, cuda::program_bytes(recipe, stage, images));
      }
    }
  }
}

// The seed recipe: what its ascent consisted of before there were others.
TEST_P(AscentProgramTest, PlainStepsAreOneKernel) {
  const Stage stage = cases().front().stage;
  Climb climb(recipe_of(stage), kIds);
  climb.set_canvas(stage.extent);
  climb.start();
  EXPECT_EQ(climb.program().canvases(), climb.program().images());
  climb.program().show(climb.state().pointers(), nullptr);
  climb.give_gradients();
  const emulation::Counters before = emulation::counters();
  climb.program().show(climb.state().pointers(), nullptr);
  climb.program().show_at_rest(nullptr);
  climb.program().step(climb.state().pointers(), nullptr);
  EXPECT_EQ(emulation::counters().launches - before.launches, 1);
  EXPECT_EQ(emulation::counters().copies - before.copies, 0);
}
#endif

}  // namespace
}  // namespace filterscope
