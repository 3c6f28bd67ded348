#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "families.h"
#include "host/ascent/recipe.h"
#include "kernels/common/philox.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/head/filter_head.h"
#include "kernels/head/loss_trace.h"
#include "kernels/image/noise.h"
#include "kernels/optimiser/normalise_and_step.h"
#include "kernels/picture/encode.h"
#include "memory.h"

namespace filterscope::bench {

namespace {

using cuda::DeviceBuffer;
using kernels::kFilterHeadParts;

std::string value_name(int image, std::size_t value) {
  return fmt::format("image {}, value {}", image, value);
}

// The state of a batch in which every image climbs.
class StateMemory {
 public:
  StateMemory(int images, const cuda::Stream& stream)
      : status_(images),
        steps_(images),
        firsts_(images),
        losses_(images),
        norms_(images),
        inactive_(images),
        alive_from_(images),
        iteration_(1) {
    kernels::start_ascent(state(), images, stream);
    stream.synchronise();
  }
  kernels::AscentState state() const {
    return {.status = status_.data(),
            .steps = steps_.data(),
            .first_losses = firsts_.data(),
            .losses = losses_.data(),
            .gradient_norms = norms_.data(),
            .inactive = inactive_.data(),
            .alive_from = alive_from_.data(),
            .iteration = iteration_.data()};
  }

 private:
  DeviceBuffer<kernels::AscentStatus> status_;
  DeviceBuffer<int> steps_;
  DeviceBuffer<float> firsts_, losses_, norms_;
  DeviceBuffer<int> inactive_, alive_from_;
  DeviceBuffer<int> iteration_;
};

class Ascent {
 public:
  Ascent(const Selection& selection, int images, CudaDevice& device)
      : extent_(selection.image),
        size_(static_cast<int>(selection.image.positions()) * 3),
        images_(images),
        device_(device) {}

  Operation noise() const {
    struct State {
      DeviceBuffer<int> layers, filters;
      std::vector<DeviceBuffer<float>> sets;
    };
    const auto state = std::make_shared<State>();
    std::vector<int> numbers(images_);
    for (int i = 0; i < images_; ++i) numbers[i] = 3 * i + 1;
    state->layers = upload(std::vector<int>(images_, kLayer));
    state->filters = upload(numbers);
    state->sets.resize(device_.sets(values() * sizeof(float)));
    for (auto& images : state->sets) images = poisoned_values<float>(values());
    Operation operation = make(state->sets.size(), values() * sizeof(float));
    operation.run = [state, self = *this](int number) {
      kernels::noise({.images = state->sets[number].data(),
                      .layers = state->layers.data(),
                      .filters = state->filters.data(),
                      .images_count = self.images_,
                      .values_per_image = self.size_,
                      .seed = kSeed,
                      .low = kLow,
                      .high = kHigh},
                     self.device_.stream());
    };
    operation.check = [state, self = *this, numbers] {
      Places places;
      Comparison comparison;
      for (const int image : checked_images(self.images_)) {
        const auto values_of_image = download_image(state->sets[0], image, self.size_);
        for (int i = 0; i < Places::kCount; ++i) {
          const int value = places.any(self.size_);
          const std::uint32_t word =
              random_block(kSeed, RandomStream::initial_image, kLayer, numbers[image], value / 4)[value % 4];
          const double unit = static_cast<double>(word >> 8) / (1 << 24);
          comparison.near(values_of_image[value], kLow + unit * (kHigh - kLow), 1e-6,
                          [&] { return value_name(image, value); });
        }
      }
      return comparison.complaint();
    };
    return operation;
  }

  Operation normalise_and_step() const {
    struct Set {
      DeviceBuffer<float> images, gradients, squares;
    };
    struct State {
      std::vector<Set> sets;
      StateMemory memory;
      DeviceBuffer<float> before;  // Set 0's images.
    };
    constexpr float kStep = 0.1f;
    const int parts = kernels::image_gradient_parts(extent_.height, extent_.width);
    const std::size_t bytes = (3 * values() + static_cast<std::size_t>(parts) * images_) * sizeof(float);
    const auto state = std::make_shared<State>(State{std::vector<Set>(device_.sets(bytes)),
                                                     StateMemory(images_, device_.stream()),
                                                     random_values<float, 0.f>(values())});
    for (Set& set : state->sets) {
      set = {random_values<float, 0.f>(values()), random_values<float>(values()),
             random_values<float, 0.5f>(static_cast<std::size_t>(parts) * images_)};
    }
    Operation operation = make(state->sets.size(), bytes);
    operation.run = [state, self = *this, parts](int number) {
      const Set& set = state->sets[number];
      kernels::normalise_and_step({.images = set.images.data(),
                                   .gradients = set.gradients.data(),
                                   .squares = set.squares.data(),
                                   .parts = parts,
                                   .step = kStep,
                                   .epsilon = 1e-30f,
                                   .state = state->memory.state(),
                                   .images_count = self.images_,
                                   .values_per_image = self.size_},
                                  self.device_.stream());
    };
    operation.check = [state, self = *this, parts] {
      const Set& set = state->sets[0];
      Places places;
      Comparison comparison;
      for (const int image : checked_images(self.images_)) {
        const auto before = download_image(state->before, image, self.size_);
        const auto after = download_image(set.images, image, self.size_);
        const auto gradient = download_image(set.gradients, image, self.size_);
        double squares = 0;
        for (const float part : download_image(set.squares, image, parts)) squares += part;
        for (int i = 0; i < Places::kCount; ++i) {
          const int value = places.any(self.size_);
          comparison.near(after[value], before[value] + kStep * gradient[value] / std::sqrt(squares), 1e-6,
                          [&] { return value_name(image, value); });
        }
      }
      return comparison.complaint();
    };
    return operation;
  }

  Operation encode() const {
    struct Set {
      DeviceBuffer<float> images;
      DeviceBuffer<std::uint8_t> pictures;
    };
    struct State {
      std::vector<Set> sets;
    };
    const std::size_t bytes = values() * (sizeof(float) + 1);
    const auto state = std::make_shared<State>();
    state->sets.resize(device_.sets(bytes));
    for (Set& set : state->sets) {
      set = {random_values<float>(values()), poisoned_values<std::uint8_t>(values())};
    }
    Operation operation = make(state->sets.size(), bytes);
    operation.run = [state, self = *this](int number) {
      const Set& set = state->sets[number];
      kernels::encode({.images = set.images.data(),
                       .pictures = set.pictures.data(),
                       .images_count = self.images_,
                       .values_per_image = self.size_},
                      self.device_.stream());
    };
    operation.check = [state, self = *this] {
      const Set& set = state->sets[0];
      Comparison comparison;
      for (const int image : checked_images(self.images_)) {
        const auto images = download_image(set.images, image, self.size_);
        const auto picture = download_image(set.pictures, image, self.size_);
        const auto [low, high] = std::ranges::minmax(images);
        for (int i = 0; i < self.size_; ++i) {
          const double exact = 255 * (double{images[i]} - low) / (double{high} - low);
          comparison.near(picture[i], exact, 0.5 + 1e-4, [&] { return value_name(image, i); });
        }
      }
      return comparison.complaint();
    };
    return operation;
  }

  Operation loss_trace() const {
    struct State {
      DeviceBuffer<float> sums, weights;
      StateMemory memory;
    };
    // A single set, as in the engine, which uses the same few bytes in every iteration.
    constexpr float kWeight = 0.125f;
    const auto state = std::make_shared<State>(
        State{random_values<float, 0.f>(static_cast<std::size_t>(kFilterHeadParts) * images_),
              upload(std::vector<float>(images_, kWeight)), StateMemory(images_, device_.stream())});
    Operation operation = make(1, static_cast<std::size_t>(images_) * (kFilterHeadParts + 3) * sizeof(float));
    operation.run = [state, self = *this](int) {
      kernels::loss_trace({.sums = state->sums.data(),
                           .weights = state->weights.data(),
                           .state = state->memory.state(),
                           .trace = nullptr,
                           .trace_every = std::numeric_limits<int>::max(),  // Never due.
                           .progress = nullptr,
                           .images_count = self.images_},
                          self.device_.stream());
    };
    operation.check = [state, self = *this] {
      const auto sums = download(state->sums.data(), state->sums.size());
      const auto losses = download(state->memory.state().losses, self.images_);
      Comparison comparison;
      for (int image = 0; image < self.images_; ++image) {
        double sum = 0;
        for (int part = 0; part < kFilterHeadParts; ++part) sum += sums[image * kFilterHeadParts + part];
        comparison.near(losses[image], kWeight * sum, 1e-6 * kFilterHeadParts,
                        [&] { return fmt::format("the loss of image {}", image); });
      }
      return comparison.complaint();
    };
    return operation;
  }

 private:
  static constexpr std::uint64_t kSeed = 7;
  static constexpr int kLayer = 3;
  static constexpr float kLow = -0.5f;
  static constexpr float kHigh = 1.f;

  std::size_t values() const { return static_cast<std::size_t>(size_) * images_; }
  Operation make(std::size_t sets, std::size_t bytes) const {
    Operation operation{.work = {.bytes = static_cast<double>(bytes)},
                        .ceilings = device_.ceilings(Precision::fp32),
                        .sets = static_cast<int>(sets),
                        .run = {},
                        .check = {}};
    return operation;
  }

  Extent extent_;
  int size_;
  int images_;
  CudaDevice& device_;
};

}  // namespace

void add_cuda_ascent(const Selection& selection, const std::shared_ptr<CudaDevice>& device) {
  for (const int images : selection.cuda_batches) {
    const auto add_operation = [&](const std::string& name, Operation (Ascent::*make)() const) {
      add(fmt::format("cuda/{}/fp32/batch:{}", name, images), device,
          [=] { return (Ascent(selection, images, *device).*make)(); });
    };
    add_operation("noise", &Ascent::noise);
    add_operation("loss_trace", &Ascent::loss_trace);
    add_operation("normalise_and_step", &Ascent::normalise_and_step);
    add_operation("encode", &Ascent::encode);
  }
}

}  // namespace filterscope::bench
