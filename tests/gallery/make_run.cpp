// make_run FOLDER SIZE SEED [FILTERS [RESCUE]]
// Writes a run of all 4224 filters (or the first FILTERS of each layer) in seconds, without rendering: each
// filter has its own stripes as a picture, and its own loss curve. block3_conv1:20 has an animation. In each
// layer with more than 100 filters a few are rescued (dead if RESCUE is "off") and a few dead; block5_conv2:7
// is nonfinite; block5_conv3's last three are missing.

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <numbers>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/store/run_writer.h"

namespace {

using namespace filterscope;

constexpr int kIterations = 500;

/// Independent numbers in [0, 1) for each filter and seed.
class Numbers {
 public:
  Numbers(std::uint64_t seed, FilterId id)
      : state_(seed * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(id.layer * 1000 + id.filter) + 1) {}
  double next() {  // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  std::uint64_t state_;
};

/// The course of a filter's ascent: its status, and the iterations that climbed the map before the ReLU.
struct Course {
  FilterStatus status = FilterStatus::ok;
  int iterations = kIterations;
  int rescued = 0;
  int alive_from = 0;
};

Course course_of(FilterId id, const Recipe& recipe, const Network& network) {
  const bool rescues = recipe.first().objective.rescue;
  if (id == FilterId{11, 7}) return {.status = FilterStatus::nonfinite};
  if (network.convolutions[static_cast<std::size_t>(id.layer)].out_channels <= 100) return {};
  using enum FilterStatus;
  const Course no_gradient{.status = dead, .iterations = 0, .rescued = rescues ? 1 : 0};
  if (id.filter % 97 == 11) {
    if (!rescues || id.filter < 100) return no_gradient;
    if (id.filter < 200) return {.status = dead, .rescued = kIterations};  // Never alive.
    return {.status = dead, .rescued = 20};                                // Alive, but not at the end.
  }
  if (id.filter % 97 != 8) return {};
  if (!rescues) return no_gradient;
  switch (id.filter / 97) {
    case 0:
      return {.status = rescued, .rescued = 37, .alive_from = 38};
    case 1:
      return {.status = rescued, .rescued = kIterations, .alive_from = kIterations + 1};
    case 2:
      return {.status = rescued, .rescued = 12, .alive_from = 121};
    case 3:
      return {.status = rescued, .rescued = 1, .alive_from = 2};
    case 4:
      return {.status = rescued, .rescued = 1, .alive_from = 121};
    default:
      return {.status = rescued, .rescued = 12, .alive_from = kIterations + 1};
  }
}

FilterResult result_of(FilterId id, Extent extent, std::uint64_t seed, const Recipe& recipe,
                       const Network& network) {
  Numbers of_filter(0, id);  // What the filter looks for does not depend on the seed.
  Numbers noise(seed + 1, id);
  FilterResult result;
  result.id = id;
  const Course course = course_of(id, recipe, network);
  result.status = course.status;
  result.iterations = course.iterations;
  result.rescued_iterations = course.rescued;
  result.alive_from = course.alive_from;

  const double angle = of_filter.next() * std::numbers::pi;
  const double hue = of_filter.next() * 2 * std::numbers::pi;
  const double frequency = (6. + 10. / (1 + id.layer)) * (.5 + of_filter.next());
  const bool dead = course.status == FilterStatus::dead;
  const double strength = dead ? 0 : .15 + .3 * of_filter.next();
  const double gain = dead ? 0 : 5 + 40 * of_filter.next();
  const double start = dead ? 0 : .2 + noise.next();
  // All rescued iterations are before alive_from, the last of them just before it.
  const auto loss = [&](int steps) {
    const int iteration = steps + 1;
    if (iteration < course.alive_from && iteration >= course.alive_from - course.rescued) return 0.f;
    return static_cast<float>(start + gain * std::sqrt(steps / static_cast<double>(kIterations)));
  };
  result.first_loss = loss(0);
  for (int iteration = 10; iteration <= result.iterations; iteration += 10)
    result.trace.push_back({iteration, loss(iteration - 1)});
  result.final_loss = loss(result.iterations);
  result.gradient_norm = static_cast<float>(gain / 100);
  if (result.status == FilterStatus::nonfinite) result.final_loss = std::nanf("");

  result.picture.reserve(static_cast<std::size_t>(extent.positions() * 3));
  for (int y = 0; y < extent.height; ++y) {
    for (int x = 0; x < extent.width; ++x) {
      const double along =
          (std::cos(angle) * x / extent.width + std::sin(angle) * y / extent.height) * frequency;
      const double wave = std::sin(along * 2 * std::numbers::pi);
      for (int c = 0; c < 3; ++c) {
        const double tint = std::cos(hue - c * 2 * std::numbers::pi / 3);
        const double value = .5 + strength * (.6 * wave + .5 * tint) + .35 * (noise.next() - .5);
        result.picture.push_back(
            static_cast<std::uint8_t>(std::lround(std::fmin(std::fmax(value, 0), 1) * 255)));
      }
    }
  }
  if (id == FilterId{4, 20}) {
    result.frame_every = kIterations / 2;
    result.frames = {std::vector<std::uint8_t>(result.picture.size(), 128), result.picture, result.picture};
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "make_run FOLDER SIZE SEED [FILTERS [RESCUE]]\n");
    return 2;
  }
  const int size = std::atoi(argv[2]);
  const int most = argc > 4 ? std::atoi(argv[4]) : 4224;
  const Network& network = vgg16();
  Weights weights;
  weights.name = "synthetic:0";
  RenderOptions options;
  options.seed = std::strtoull(argv[3], nullptr, 10);
  Recipe recipe = find_recipe("seed");
  recipe.stages.front().extent = {size, size};
  recipe.stages.front().objective.rescue = argc <= 5 || std::string(argv[5]) != "off";

  std::vector<FilterId> selection;
  for (int layer = 0; layer < network.layer_count(); ++layer)
    for (int i = 0; i < std::min(most, network.convolutions[static_cast<std::size_t>(layer)].out_channels);
         ++i)
      selection.push_back({layer, i});
  try {
    const EngineDescription engine{.device = "cpu", .device_name = "none", .libraries = {}, .plans = {}};
    Manifest run = describe_run(network, weights, recipe, options, engine);
    run.command_lines = {"filterscope render --weights synthetic"};
    RunWriter writer(argv[1], run, selection, {.force = true});
    for (const FilterId id : selection)
      if (id.layer != 12 || id.filter < 509)
        writer.add(result_of(id, recipe.picture_extent(), options.seed, recipe, network), engine);
    writer.finish(1);
  } catch (const Error& error) {
    fmt::print(stderr, "make_run: {}\n", error.what());
    return error.exit_code();
  }
}
