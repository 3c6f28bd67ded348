// The state of a batch's ascents at its start, and the losses of each iteration.
//
// Floor: kFilterHeadParts sums, a weight and a few numbers of state per image, some 50 bytes: half a megabyte
// for ten thousand images, against gigabytes in every other kernel. What matters is that it needs no other
// launch, copy or wait. One launch adds up, tests, records and counts; it can be part of a replayed graph,
// since the number of the iteration is stored on the device. It is a single block, so that a barrier
// separates the last reader of that number from its writer.
#include "../common/global.h"
#include "../common/launch.h"
#include "filter_head.h"
#include "loss_trace.h"

namespace filterscope::kernels {
namespace {

constexpr int kStartThreads = 256;
constexpr int kTraceThreads = 1024;

__global__ void start_ascent_kernel(Global<AscentStatus> status, Global<int> steps,
                                    Global<float> first_losses, Global<float> losses,
                                    Global<float> gradient_norms, Global<int> inactive,
                                    Global<int> alive_from, Global<int> counter, int images_count) {
  const int image = static_cast<int>(blockIdx.x * kStartThreads + threadIdx.x);
  if (image == 0) counter.store(0, 0);
  if (image >= images_count) return;
  status.store(image, AscentStatus::climbing);
  steps.store(image, 0);
  first_losses.store(image, 0.f);
  losses.store(image, 0.f);
  gradient_norms.store(image, 0.f);
  inactive.store(image, 0);
  alive_from.store(image, 0);
}

__global__ void continue_ascent_kernel(Global<AscentStatus> status, int images_count) {
  const int image = static_cast<int>(blockIdx.x * kStartThreads + threadIdx.x);
  if (image < images_count && status.load(image) == AscentStatus::dead)
    status.store(image, AscentStatus::climbing);
}

template <bool kBeforeRelu>
__global__ void __launch_bounds__(kTraceThreads, 1)
    loss_trace_kernel(Global<const float> sums, Global<const float> weights, Global<AscentStatus> status,
                      Global<float> first_losses, Global<float> losses, Global<int> inactive,
                      Global<int> alive_from, Global<int> counter, Global<float> trace, int trace_every,
                      Global<int> progress, int images_count) {
  constexpr int kWidth = 4;
  static_assert(kFilterHeadParts % kWidth == 0);
  const bool counts = trace_every > 0;
  const int iteration = counter.load(0) + 1;
  const bool traces = counts && iteration % trace_every == 0;
  const std::int64_t row = traces ? std::int64_t{iteration / trace_every - 1} * images_count : 0;
  for (int image = static_cast<int>(threadIdx.x); image < images_count; image += kTraceThreads) {
    float loss;
    if (status.load(image) == AscentStatus::climbing) {
      float sum = 0.f;
      for (int part = 0; part < kFilterHeadParts; part += kWidth) {
        const Vector<float, kWidth> parts =
            sums.load_vector<kWidth>(std::int64_t{image} * kFilterHeadParts + part);
        for (int i = 0; i < kWidth; ++i) sum += parts[i];
      }
      loss = sum * weights.load(image);
      losses.store(image, loss);
      if (counts && iteration == 1) first_losses.store(image, loss);
      if (!isfinite(loss)) status.store(image, AscentStatus::nonfinite);
      if (kBeforeRelu) {
        // Zero is a value like any other.
      } else if (sum == 0.f && counts) {
        inactive.store(image, inactive.load(image) + 1);
        alive_from.store(image, iteration + 1);
      } else if (sum == 0.f) {
        status.store(image, AscentStatus::dead);
      }
    } else {
      loss = losses.load(image);  // The image no longer changes.
    }
    if (traces) trace.store(row + image, loss);
  }
  __syncthreads();  // All threads have read the counter, and the trace is written.
  if (counts && threadIdx.x == 0) {
    counter.store(0, iteration);
    if (progress) {
      __threadfence_system();  // A reader that sees the iteration also sees its row of the trace.
      progress.store(0, iteration);
    }
  }
}

}  // namespace

void start_ascent(const AscentState& state, int images_count, cudaStream_t stream) {
  launch("start_ascent", start_ascent_kernel,
         {dim3(static_cast<unsigned>(ceil_div(images_count, kStartThreads))), dim3(kStartThreads)}, stream,
         state.status, state.steps, state.first_losses, state.losses, state.gradient_norms, state.inactive,
         state.alive_from, state.iteration, images_count);
}

void continue_ascent(const AscentState& state, int images_count, cudaStream_t stream) {
  launch("continue_ascent", continue_ascent_kernel,
         {dim3(static_cast<unsigned>(ceil_div(images_count, kStartThreads))), dim3(kStartThreads)}, stream,
         state.status, images_count);
}

void loss_trace(const LossTraceArguments& arguments, cudaStream_t stream) {
  const AscentState& state = arguments.state;
  const auto kernel = arguments.before_relu ? loss_trace_kernel<true> : loss_trace_kernel<false>;
  launch("loss_trace", kernel, {dim3(1), dim3(kTraceThreads)}, stream, arguments.sums, arguments.weights,
         state.status, state.first_losses, state.losses, state.inactive, state.alive_from, state.iteration,
         arguments.trace, arguments.trace_every, arguments.progress, arguments.images_count);
}

}  // namespace filterscope::kernels
