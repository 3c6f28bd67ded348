#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "../check.h"
#include "families.h"
#include "host/ascent/operations/optimiser.h"
#include "host/ascent/operations/picture.h"
#include "host/ascent/operations/start.h"
#include "host/ascent/recipe.h"
#include "host/ascent/stage_program.h"
#include "host/base/threads.h"
#include "host/cpu/kernels.h"
#include "kernels/common/philox.h"

namespace filterscope::bench {

namespace {

using namespace cpu;

struct Set {
  AlignedBuffer<float> images;
  AlignedBuffer<float> gradients;
  AlignedBuffer<float> before;  // Only in set 0: the images before the first step.
  AlignedBuffer<std::uint8_t> pictures;
};
struct State {
  std::vector<Set> sets;
};

// Calls body(image) for each image, distributed over all cores.
template <class Body>
void for_images(int images, const Body& body) {
  parallel_for(images, body);
}

std::string value_name(int image, std::size_t value) {
  return fmt::format("image {}, value {}", image, value);
}

class Ascent {
 public:
  Ascent(const Selection& selection, int images, CpuDevice& device)
      : extent_(selection.image),
        size_(static_cast<std::size_t>(selection.image.positions()) * 3),
        images_(images),
        device_(device) {}

  Operation noise() const {
    const auto state = make_state(sizeof(float));
    for (Set& set : state->sets) set.images = poisoned(size_ * images_);
    Operation operation = make_operation(state, sizeof(float));
    operation.run = [=, size = size_, images = images_](int number) {
      for_images(images, [&](int image) {
        draw_start(stage().start, kSeed, {kLayer, image},
                   state->sets[number].images.span().subspan(size * image, size));
      });
    };
    operation.check = [=, size = size_, images = images_] {
      const Start& initial = stage().start;
      Places places;
      Comparison comparison;
      for (int i = 0; i < Places::kCount; ++i) {
        const int image = places.any(images);
        const std::size_t value = places.any(size);
        const std::uint32_t word = random_block(kSeed, RandomStream::initial_image, kLayer, image,
                                                static_cast<std::uint32_t>(value / 4))[value % 4];
        const double unit = static_cast<double>(word >> 8) / (1 << 24);
        comparison.near(state->sets[0].images.data()[size * image + value],
                        initial.low + unit * (initial.high - initial.low), 1e-7,
                        [&] { return value_name(image, value); });
      }
      return comparison.complaint();
    };
    return operation;
  }

  Operation step() const {
    const auto state = make_state(3 * sizeof(float));
    for (std::size_t i = 0; i < state->sets.size(); ++i) {
      Set& set = state->sets[i];
      set.images = random_floats(size_ * images_, 10 + i, 0.f);
      set.gradients = random_floats(size_ * images_, 20 + i);
    }
    state->sets[0].before = random_floats(size_ * images_, 10, 0.f);  // The same values as those of set 0.
    Operation operation = make_operation(state, 3 * sizeof(float));
    const auto program = std::make_shared<StageProgram>(stage(), kSeed, 0);
    operation.run = [=, size = size_, images = images_](int number) {
      Set& set = state->sets[number];
      for_images(images, [&](int image) {
        const auto gradient = set.gradients.span().subspan(size * image, size);
        program->step(1, sum_of_squares(gradient), gradient, {},
                      set.images.span().subspan(size * image, size), {});
      });
    };
    operation.check = [=, size = size_, images = images_] {
      const Set& set = state->sets[0];
      Places places;
      Comparison comparison;
      for (const int image : {0, images - 1}) {
        double squares = 0;
        for (std::size_t i = 0; i < size; ++i) {
          squares += std::pow(double{set.gradients.data()[size * image + i]}, 2);
        }
        for (int i = 0; i < Places::kCount; ++i) {
          const std::size_t value = places.any(size);
          const std::size_t at = size * image + value;
          comparison.near(
              set.images.data()[at],
              set.before.data()[at] + stage().optimiser.step * set.gradients.data()[at] / std::sqrt(squares),
              1e-6, [&] { return value_name(image, value); });
        }
      }
      return comparison.complaint();
    };
    return operation;
  }

  Operation encode() const {
    const auto state = make_state(sizeof(float) + 1);
    for (std::size_t i = 0; i < state->sets.size(); ++i) {
      state->sets[i].images = random_floats(size_ * images_, i, 0.f);
      state->sets[i].pictures = AlignedBuffer<std::uint8_t>(size_ * images_);
    }
    Operation operation = make_operation(state, sizeof(float) + 1);
    operation.run = [=, size = size_, images = images_, extent = extent_](int number) {
      Set& set = state->sets[number];
      for_images(images, [&](int image) {
        const std::vector<std::uint8_t> picture =
            encode_picture(recipe().picture, set.images.span().subspan(size * image, size), extent);
        std::ranges::copy(picture, set.pictures.data() + size * image);
      });
    };
    operation.check = [=, size = size_, images = images_] {
      Set& set = state->sets[0];
      Comparison comparison;
      for (const int image : {0, images - 1}) {
        const auto values = set.images.span().subspan(size * image, size);
        const auto [low, high] = std::ranges::minmax(values);
        for (std::size_t i = 0; i < size; ++i) {
          const double exact = 255 * (double{values[i]} - low) / (double{high} - low);
          comparison.near(set.pictures.data()[size * image + i], exact, 0.5 + 1e-4,
                          [&] { return value_name(image, i); });
        }
      }
      return comparison.complaint();
    };
    return operation;
  }

 private:
  static constexpr std::uint64_t kSeed = 7;
  static constexpr int kLayer = 3;
  static const Recipe& recipe() { return find_recipe("seed"); }
  static const Stage& stage() { return recipe().first(); }

  std::shared_ptr<State> make_state(std::size_t bytes_per_value) const {
    auto state = std::make_shared<State>();
    state->sets.resize(device_.sets(size_ * images_ * bytes_per_value));
    return state;
  }
  Operation make_operation(const std::shared_ptr<State>& state, std::size_t bytes_per_value) const {
    Operation operation{.work = {.bytes = static_cast<double>(size_ * images_ * bytes_per_value)},
                        .ceilings = device_.ceilings(kernels().name),
                        .sets = static_cast<int>(state->sets.size()),
                        .run = {},
                        .check = {}};
    return operation;
  }

  Extent extent_;
  std::size_t size_;
  int images_;
  CpuDevice& device_;
};

}  // namespace

void add_cpu_ascent(const Selection& selection, const std::shared_ptr<CpuDevice>& device) {
  for (const int images : selection.cpu_batches) {
    const auto add_operation = [&](const std::string& name, Operation (Ascent::*make)() const) {
      add(fmt::format("cpu/{}/batch:{}", name, images), device,
          [=] { return (Ascent(selection, images, *device).*make)(); });
    };
    add_operation("noise", &Ascent::noise);
    add_operation("normalise_and_step", &Ascent::step);
    add_operation("encode", &Ascent::encode);
  }
}

}  // namespace filterscope::bench
