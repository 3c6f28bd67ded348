#include "ascent_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "../run/schedule.h"
#include "kernels/head/filter_head.h"
#include "kernels/head/loss_trace.h"
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
                       Precision precision, DeviceWeights& weights, std::vector<Plan> plans, int range)
    : network_(network),
      recipe_(recipe),
      options_(options),
      trace_every_(options.trace_every > 0 ? options.trace_every : recipe.trace_every()),
      range_(range) {
  int begin = 0;
  for (std::size_t number = 0; number < plans.size(); ++number) {
    const Stage& stage = recipe.stages[number];
    const int count = plans[number].layout.images();
    StageLoop loop;
    loop.begin = begin;
    loop.passes = make_passes(network, stage, precision, weights, std::move(plans[number]), range);
    loop.program = make_ascent_program(recipe, number, options.seed, count);
    stages_.push_back(std::move(loop));
    begin += stage.iterations;
  }
  const std::size_t count = images();
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
    make(results.pictures, count * picture_size());
    make(results.frames, count * picture_size() * frame_rows());
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
  if (options.initial_images.count > 0) {
    staged_images_ = PinnedBuffer<float>(count * start_size());
    start_images_ = DeviceBuffer<float>(count * start_size());
  }
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
  const int trace_every = options.trace_every > 0 ? options.trace_every : recipe.trace_every();
  const auto values = [](Extent extent) { return static_cast<std::size_t>(extent.positions()) * 3; };
  // Pictures, unscaled and start images, frames and two traces; the rest is small.
  const std::size_t per_image =
      values(recipe.picture_extent()) +
      sizeof(float) * ((options.keep_images ? values(recipe.last().extent) : 0) +
                       (options.initial_images.count > 0 ? values(recipe.first().extent) : 0)) +
      frame_bytes(recipe, options) + std::size_t(recipe.iterations() / trace_every) * 2 * sizeof(float) +
      1024;
  std::size_t bytes = per_image * layout.images();
  for (std::size_t stage = 0; stage < recipe.stages.size(); ++stage) {
    bytes += passes_bytes(network, canvas_extent(recipe.stages[stage]), precision, layout,
                          MaskFormat::activation) +
             program_bytes(recipe, stage, layout.images());
  }
  return bytes;
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

PassArguments AscentLoop::pass_arguments(const StageLoop& stage) const {
  return {.images = stage.program->canvases(),
          .filters = filters_.data(),
          .sums = sums_.data(),
          .gradients = stage.program->canvas_gradients(),
          .squares = stage.program->squares()};
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
  running_stage_ = 0;
  AscentProgram& program = *stages_.front().program;
  if (options_.initial_images.count > 0) {
    upload_initial_images(batch);
    program.start_from(start_images_.data(), layers_.data(), filters_.data(), stream_);
  } else {
    program.start(layers_.data(), filters_.data(), stream_);
  }
}

void AscentLoop::upload_initial_images(const Batch& batch) {
  const InitialImages& given = options_.initial_images;
  for (int i = 0; i < images(); ++i) {
    const std::int64_t index = std::max<std::int64_t>(batch.indices[i], 0);
    std::copy_n(given.values.data() + (given.count == 1 ? 0 : index) * start_size(), start_size(),
                staged_images_.data() + i * start_size());
  }
  copy(start_images_.data(), staged_images_.data(), start_images_.size(), cudaMemcpyHostToDevice, stream_);
}

// A separate launch: as a part of the graph it would have to find out on the device, in each iteration,
// whether a frame is due and where it goes.
void AscentLoop::enqueue_frame() {
  const nvtx::Range range("frame");
  const std::size_t row = enqueued_ / options_.frame_every;
  AscentProgram& program = *stages_[running_stage_].program;
  program.show_at_rest(stream_);
  program.encode(finished_.frames.data() + row * images() * picture_size(), stream_);
}

void AscentLoop::record_losses(const StageLoop& stage, float* trace, int trace_every, int* progress) {
  const std::size_t number = static_cast<std::size_t>(&stage - stages_.data());
  kernels::loss_trace({.sums = sums_.data(),
                       .weights = stage.passes->loss_weights(),
                       .state = state(),
                       .trace = trace,
                       .trace_every = trace_every,
                       .progress = progress,
                       .images_count = images(),
                       .before_relu = recipe_.stages[number].objective.before_relu},
                      stream_);
}

void AscentLoop::enqueue_iteration(StageLoop& stage) {
  {
    const nvtx::Range range("image");
    stage.program->show(state(), stream_);
  }
  const PassArguments arguments = pass_arguments(stage);
  {
    const nvtx::Range range("forward");
    stage.passes->forward(arguments, stream_);
  }
  {
    const nvtx::Range range("backward");
    stage.passes->backward(arguments, stream_);
  }
  const nvtx::Range range("step");
  {
    const nvtx::Range operation("loss trace");
    record_losses(stage, trace_.data(), trace_every_, device_progress_);
  }
  stage.program->step(state(), stream_);
}

void AscentLoop::iterate(bool as_graph) {
  const std::size_t next = running_stage_ + 1;
  if (next < stages_.size() && enqueued_ == stages_[next].begin) {
    const nvtx::Range range("next stage");
    stages_[running_stage_].program->show_at_rest(stream_);
    stages_[next].program->start_after(*stages_[running_stage_].program, layers_.data(), filters_.data(),
                                       stream_);
    kernels::continue_ascent(state(), images(), stream_);
    running_stage_ = next;
  }
  if (frame_rows() > 0 && enqueued_ < recipe_.iterations() && enqueued_ % options_.frame_every == 0)
    enqueue_frame();
  ++enqueued_;
  StageLoop& stage = stages_[running_stage_];
  if (as_graph && stage.graph) {
    stage.graph.launch(stream_);
    return;
  }
  enqueue_iteration(stage);
  // A kernel's first launch may load its code, which is not allowed during capture; hence this iteration is
  // not a graph. The graph is created right after it, so that a lack of memory shows before anything is
  // reported.
  if (stage.graph) return;
  stage.graph = Graph::capture(stream_, [&] { enqueue_iteration(stage); });
  stage.graph.upload(stream_);
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
  StageLoop& last = stages_.back();
  last.program->show_at_rest(stream_);
  last.passes->forward(pass_arguments(last), stream_);
  record_losses(last, nullptr, 0, nullptr);
  last.program->encode(finished_.pictures.data(), stream_);
  if (options_.keep_images) {
    copy(finished_.images.data(), last.program->images(), finished_.images.size(), cudaMemcpyDeviceToDevice,
         stream_);
  }
  const auto snapshot = [this](const auto& to, const auto& from) {
    if (to.size() > 0) copy(to.data(), from.data(), to.size(), cudaMemcpyDeviceToDevice, stream_);
  };
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
  return picture_size() + (options_.keep_images ? image_size() * sizeof(float) : 0) +
         frame_bytes(recipe_, options_) + trace_rows() * sizeof(TracePoint);
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
  // What the objective does not rescue is counted, too.
  const auto rescues = [](const Stage& stage) { return stage.objective.rescues(); };
  if (std::ranges::any_of(recipe_.stages, rescues))
    result.rescued_iterations = results_.inactive.data()[image];
  result.status = status_of(results_.status.data()[image], result.rescued_iterations > 0);
  if (result.status == FilterStatus::rescued) result.alive_from = results_.alive_from.data()[image];
  result.range = range_;
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
  const auto part = [&]<class T>(const PinnedBuffer<T>& buffer, std::size_t size, std::size_t row = 0) {
    const std::span<T> values = buffer.span().subspan((row * images() + image) * size, size);
    return std::vector<T>(values.begin(), values.end());
  };
  result.picture = part(results_.pictures, picture_size());
  if (options_.keep_images) result.image = part(results_.images, image_size());
  result.frame_every = options_.frame_every;
  for (int row = 0; row < frame_rows() && row * options_.frame_every < result.iterations; ++row)
    result.frames.push_back(part(results_.frames, picture_size(), row));
  if (options_.frame_every > 0) result.frames.push_back(result.picture);
  return result;
}

void AscentLoop::drain() const {
  stream_.synchronise();
}

}  // namespace filterscope::cuda
