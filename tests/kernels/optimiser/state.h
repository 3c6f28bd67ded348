#pragma once

#include <span>
#include <vector>

#include "kernels/optimiser/ascent_state.h"
#include "tests/support/device.h"

namespace filterscope::test {

// An AscentState with its memory, initially poisoned.
struct State {
  explicit State(int images)
      : count(images),
        status(test::poisoned<kernels::AscentStatus>(images)),
        steps(test::poisoned<int>(images)),
        first_losses(test::poisoned<float>(images)),
        losses(test::poisoned<float>(images)),
        gradient_norms(test::poisoned<float>(images)),
        inactive(test::poisoned<int>(images)),
        alive_from(test::poisoned<int>(images)),
        iteration(test::poisoned<int>(1)) {}

  kernels::AscentState pointers() const {
    return {.status = status.data(),
            .steps = steps.data(),
            .first_losses = first_losses.data(),
            .losses = losses.data(),
            .gradient_norms = gradient_norms.data(),
            .inactive = inactive.data(),
            .alive_from = alive_from.data(),
            .iteration = iteration.data()};
  }

  int count;
  cuda::DeviceBuffer<kernels::AscentStatus> status;
  cuda::DeviceBuffer<int> steps;
  cuda::DeviceBuffer<float> first_losses;
  cuda::DeviceBuffer<float> losses;
  cuda::DeviceBuffer<float> gradient_norms;
  cuda::DeviceBuffer<int> inactive;
  cuda::DeviceBuffer<int> alive_from;
  cuda::DeviceBuffer<int> iteration;
};

template <class T>
void store(const cuda::DeviceBuffer<T>& buffer, std::size_t index, T value) {
  cuda::check(cudaMemcpy(buffer.data() + index, &value, sizeof(T), cudaMemcpyHostToDevice),
              "changing one element");
}

}  // namespace filterscope::test
