#include "ascent_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "../run/schedule.h"
#include "kernels/first_layer/dgrad.h"
#include "kernels/head/filter_head.h"
#include "kernels/head/loss_trace.h"
#include "kernels/image/noise.h"
#include "kernels/optimiser/normalise_and_step.h"
#include "kernels/picture/encode.h"
#include "nvtx.h"

namespace filterscope::cuda {

namespace {

template <class T>
void copy(T* to, const T* from, std::size_t count, cudaMemcpyKind kind, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from, count * sizeof(T), kind, stream), "copying {} bytes", count * sizeof(T));
}

FilterStatus status_of(kernels::AscentStatus status, bool rescued) {
  switch (status) {
    case kernels::AscentStatus::climbing:
      return rescued ? FilterStatus::rescued : FilterStatus::ok;
    case kernels::AscentStatus::dead:
      return FilterStatus::dead;
    case kernels::AscentStatus::nonfinite:
      break;
  }
  return FilterStatus::nonfinite;
}

}  // namespace

AscentLoop::AscentLoop(const Network& network, const Recipe& recipe, const RenderOptions& options,
                       Precision precision, DeviceWeights& weights, Plan plan)
    : network_(network),
      recipe_(recipe),
      options_(options),
      trace_every_(options.trace_every > 0 ? options.trace_every : recipe.trace_every()),
      passes_(make_passes(network, recipe, precision, weights, std::move(plan))) {
  const std::size_t count = images();
  const int parts = kernels::image_gradient_parts(options.extent.height, options.extent.width);
  images_ = DeviceBuffer<float>(count * image_size());
  gradients_ = DeviceBuffer<float>(count * image_size());
  squares_ = DeviceBuffer<float>(count * parts);
  sums_ = DeviceBuffer<float>(count * kernels::kFilterHeadParts);
  layers_ = DeviceBuffer<int>(count);
  filters_ = DeviceBuffer<int>(count);
  trace_ = DeviceBuffer<float>(count * trace_rows());
  status_ = DeviceBuffer<kernels::AscentStatus>(count);
  steps_ = DeviceBuffer<int>(count);
  first_losses_ = DeviceBuffer<float>(count);
  losses_ = DeviceBuffer<float>(count);
  gradient_norms_ = DeviceBuffer<float>(count);
  inactive_ = DeviceBuffer<int>(count);
  alive_from_ = DeviceBuffer<int>(count);
  iteration_ = DeviceBuffer<int>(1);
  const auto allocate = [&](auto& results) {
    const auto make = [](auto& buffer, std::size_t size) {
      buffer = std::remove_reference_t<decltype(buffer)>(size);
    };
    make(results.pictures, count * image_size());
    make(results.frames, count * image_size() * frame_rows());
    make(results.images, options.keep_images ? count * image_size() : 0);
    make(results.trace, count * trace_rows());
    make(results.status, count);
    make(results.steps, count);
    make(results.first_losses, count);
    make(results.losses, count);
    make(results.gradient_norms, count);
    make(results.inactive, count);
    make(results.alive_from, count);
  };
  allocate(finished_);
  allocate(results_);
  staged_layers_ = PinnedBuffer<int>(count);
  staged_filters_ = PinnedBuffer<int>(count);
  if (options.initial_images.count > 0) staged_images_ = PinnedBuffer<float>(count * image_size());
  progress_ = PinnedBuffer<int>(1);
  void* mapped = nullptr;
  check(cudaHostGetDevicePointer(&mapped, progress_.data(), 0), "mapping host memory");
  device_progress_ = static_cast<int*>(mapped);
}

AscentLoop::~AscentLoop() {
  // Nothing may be freed while the device may still use it.
  cudaStreamSynchronize(stream_);
  cudaStreamSynchronize(copy_stream_);
  cudaGetLastError();
}

std::size_t AscentLoop::device_bytes(const Network& network, const Recipe& recipe,
                                     const RenderOptions& options, Precision precision,
                                     const BatchLayout& layout) {
  const auto image_size = static_cast<std::size_t>(options.extent.positions()) * 3;
  const int trace_every = options.trace_every > 0 ? options.trace_every : recipe.trace_every();
  // Images, gradients, pictures, frames and two traces; the rest is small.
  const std::size_t per_image =
      image_size * (2 * sizeof(float) + 1 + (options.keep_images ? sizeof(float) : 0)) +
      frame_bytes(recipe, options) + std::size_t(recipe.iterations / trace_every) * 2 * sizeof(float) + 1024;
  return passes_bytes(network, options.extent, precision, layout, MaskFormat::activation) +
         per_image * layout.images();
}

kernels::AscentState AscentLoop::state() const {
  return {.status = status_.data(),
          .steps = steps_.data(),
          .first_losses = first_losses_.data(),
          .losses = losses_.data(),
          .gradient_norms = gradient_norms_.data(),
          .inactive = inactive_.data(),
          .alive_from = alive_from_.data(),
          .iteration = iteration_.data()};
}

PassArguments AscentLoop::pass_arguments() const {
  return {.images = images_.data(),
          .filters = filters_.data(),
          .sums = sums_.data(),
          .gradients = gradients_.data(),
          .squares = squares_.data()};
}

void AscentLoop::start(const Batch& batch) {
  const nvtx::Range range("start");
  running_ = &batch;
  enqueued_ = 0;
  if (frame_rows() > 0) check(cudaStreamWaitEvent(stream_, copied_), "ordering streams");
  const std::size_t count = images();
  for (std::size_t i = 0; i < count; ++i) {
    staged_layers_.data()[i] = batch.filters[i].layer;
    staged_filters_.data()[i] = batch.filters[i].filter;
  }
  copy(layers_.data(), staged_layers_.data(), count, cudaMemcpyHostToDevice, stream_);
  copy(filters_.data(), staged_filters_.data(), count, cudaMemcpyHostToDevice, stream_);
  std::atomic_ref(*progress_.data()).store(0);
  kernels::start_ascent(state(), images(), stream_);
  if (options_.initial_images.count > 0) {
    upload_initial_images(batch);
  } else {
    kernels::noise({.images = images_.data(),
                    .layers = layers_.data(),
                    .filters = filters_.data(),
                    .images_count = images(),
                    .values_per_image = static_cast<int>(image_size()),
                    .seed = options_.seed,
                    .low = recipe_.initial_image.low,
                    .high = recipe_.initial_image.high},
                   stream_);
  }
}

void AscentLoop::upload_initial_images(const Batch& batch) {
  const InitialImages& given = options_.initial_images;
  for (int i = 0; i < images(); ++i) {
    const std::int64_t index = std::max<std::int64_t>(batch.indices[i], 0);
    std::copy_n(given.values.data() + (given.count == 1 ? 0 : index) * image_size(), image_size(),
                staged_images_.data() + i * image_size());
  }
  copy(images_.data(), staged_images_.data(), images_.size(), cudaMemcpyHostToDevice, stream_);
}

// A separate launch: as a part of the graph it would have to find out on the device, in each iteration,
// whether a frame is due and where it goes.
void AscentLoop::enqueue_frame() {
  const nvtx::Range range("frame");
  const std::size_t row = enqueued_ / options_.frame_every;
  kernels::encode({.images = images_.data(),
                   .pictures = finished_.frames.data() + row * images() * image_size(),
                   .images_count = images(),
                   .values_per_image = static_cast<int>(image_size())},
                  stream_);
}

void AscentLoop::record_losses(float* trace, int trace_every, int* progress) {
  kernels::loss_trace({.sums = sums_.data(),
                       .weights = passes_->loss_weights(),
                       .state = state(),
                       .trace = trace,
                       .trace_every = trace_every,
                       .progress = progress,
                       .images_count = images()},
                      stream_);
}

void AscentLoop::enqueue_iteration() {
  const PassArguments arguments = pass_arguments();
  {
    const nvtx::Range range("forward");
    passes_->forward(arguments, stream_);
  }
  {
    const nvtx::Range range("backward");
    passes_->backward(arguments, stream_);
  }
  const nvtx::Range range("step");
  {
    const nvtx::Range operation("loss trace");
    record_losses(trace_.data(), trace_every_, device_progress_);
  }
  const nvtx::Range operation("normalise and step");
  kernels::normalise_and_step(
      {.images = images_.data(),
       .gradients = gradients_.data(),
       .squares = squares_.data(),
       .parts = kernels::image_gradient_parts(options_.extent.height, options_.extent.width),
       .step = recipe_.optimiser.step,
       .epsilon = recipe_.gradient_normalisation.epsilon,
       .state = state(),
       .images_count = images(),
       .values_per_image = static_cast<int>(image_size())},
      stream_);
}

void AscentLoop::iterate(bool as_graph) {
  if (frame_rows() > 0 && enqueued_ < recipe_.iterations && enqueued_ % options_.frame_every == 0)
    enqueue_frame();
  ++enqueued_;
  if (as_graph && iteration_graph_) {
    iteration_graph_.launch(stream_);
    return;
  }
  enqueue_iteration();
  // A kernel's first launch may load its code, which is not allowed during capture; hence this iteration is
  // not a graph. The graph is created right after it, so that a lack of memory shows before anything is
  // reported.
  if (iteration_graph_) return;
  iteration_graph_ = Graph::capture(stream_, [this] { enqueue_iteration(); });
  iteration_graph_.upload(stream_);
}

int AscentLoop::finished_iterations() const {
  const cudaError_t status = cudaStreamQuery(stream_);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // Otherwise the next caller would get it.
  } else {
    check(status, "ascending");
  }
  return std::atomic_ref(*progress_.data()).load();
}

void AscentLoop::finish() {
  const nvtx::Range range("finish");
  passes_->forward(pass_arguments(), stream_);
  record_losses(nullptr, 0, nullptr);
  kernels::encode({.images = images_.data(),
                   .pictures = finished_.pictures.data(),
                   .images_count = images(),
                   .values_per_image = static_cast<int>(image_size())},
                  stream_);
  const auto snapshot = [this](const auto& to, const auto& from) {
    if (to.size() > 0) copy(to.data(), from.data(), to.size(), cudaMemcpyDeviceToDevice, stream_);
  };
  snapshot(finished_.images, images_);
  snapshot(finished_.trace, trace_);
  snapshot(finished_.status, status_);
  snapshot(finished_.steps, steps_);
  snapshot(finished_.first_losses, first_losses_);
  snapshot(finished_.losses, losses_);
  snapshot(finished_.gradient_norms, gradient_norms_);
  snapshot(finished_.inactive, inactive_);
  snapshot(finished_.alive_from, alive_from_);
  snapshot_.record(stream_);

  check(cudaStreamWaitEvent(copy_stream_, snapshot_), "ordering streams");
  const auto bring = [this](const auto& to, const auto& from) {
    if (to.size() > 0) copy(to.data(), from.data(), to.size(), cudaMemcpyDeviceToHost, copy_stream_);
  };
  bring(results_.pictures, finished_.pictures);
  bring(results_.frames, finished_.frames);
  bring(results_.images, finished_.images);
  bring(results_.trace, finished_.trace);
  bring(results_.status, finished_.status);
  bring(results_.steps, finished_.steps);
  bring(results_.first_losses, finished_.first_losses);
  bring(results_.losses, finished_.losses);
  bring(results_.gradient_norms, finished_.gradient_norms);
  bring(results_.inactive, finished_.inactive);
  bring(results_.alive_from, finished_.alive_from);
  copied_.record(copy_stream_);
  finishing_ = std::exchange(running_, nullptr);
  arrived_ = false;
  find_result(0);
}

std::size_t AscentLoop::result_bytes() const {
  return image_size() * (1 + (options_.keep_images ? sizeof(float) : 0)) + frame_bytes(recipe_, options_) +
         trace_rows() * sizeof(TracePoint);
}

FilterResult AscentLoop::take_result() {
  if (!arrived_) copied_.synchronise();
  arrived_ = true;
  FilterResult result = result_of(next_result_);
  find_result(next_result_ + 1);
  return result;
}

// Moves on to the next image, from `image`, that is not padding; after the last one the batch is finished.
void AscentLoop::find_result(int image) {
  while (image < images() && finishing_->indices[image] == Batch::kPadding) ++image;
  next_result_ = image;
  if (image == images()) finishing_ = nullptr;
}

FilterResult AscentLoop::result_of(int image) const {
  FilterResult result;
  result.id = finishing_->filters[image];
  if (recipe_.rescue) result.rescued_iterations = results_.inactive.data()[image];
  result.status = status_of(results_.status.data()[image], result.rescued_iterations > 0);
  if (result.status == FilterStatus::rescued) result.alive_from = results_.alive_from.data()[image];
  result.iterations = results_.steps.data()[image];
  result.first_loss = results_.first_losses.data()[image];
  result.final_loss = results_.losses.data()[image];
  result.gradient_norm = results_.gradient_norms.data()[image];
  result.trace.reserve(trace_rows());
  for (int row = 0; row < trace_rows(); ++row) {
    const int iteration = (row + 1) * trace_every_;
    if (result.status == FilterStatus::nonfinite && iteration > result.iterations) break;
    result.trace.push_back({iteration, results_.trace.data()[std::size_t(row) * images() + image]});
  }
  const auto part = [&]<class T>(const PinnedBuffer<T>& buffer, std::size_t row = 0) {
    const std::span<T> values = buffer.span().subspan((row * images() + image) * image_size(), image_size());
    return std::vector<T>(values.begin(), values.end());
  };
  result.picture = part(results_.pictures);
  if (options_.keep_images) result.image = part(results_.images);
  result.frame_every = options_.frame_every;
  for (int row = 0; row < frame_rows() && row * options_.frame_every < result.iterations; ++row)
    result.frames.push_back(part(results_.frames, row));
  if (options_.frame_every > 0) result.frames.push_back(result.picture);
  return result;
}

void AscentLoop::drain() const {
  stream_.synchronise();
}

}  // namespace filterscope::cuda
