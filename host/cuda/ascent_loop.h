#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "../run/batch.h"
#include "../run/observer.h"
#include "../run/render_options.h"
#include "ascent_program.h"
#include "device_weights.h"
#include "kernels/optimiser/ascent_state.h"
#include "network_passes.h"
#include "runtime.h"

namespace filterscope::cuda {

/// Ascends batches of one layout, one after another, entirely on the device. The results of a batch are
/// copied to the host during the next one.
class AscentLoop {
 public:
  /// Allocates memory for `plans`, one for each stage of the recipe, all of the same layout; throws
  /// OutOfMemory. `range` is that of make_passes(). References must outlive the loop.
  AscentLoop(const Network& network, const Recipe& recipe, const RenderOptions& options, Precision precision,
             DeviceWeights& weights, std::vector<Plan> plans, int range);
  ~AscentLoop();

  const Plan& plan(std::size_t stage = 0) const { return stages_[stage].passes->plan(); }
  /// Upper bound of the device memory for `layout`, without the workspace of convolutions.
  static std::size_t device_bytes(const Network& network, const Recipe& recipe, const RenderOptions& options,
                                  Precision precision, const BatchLayout& layout);

  /// Enqueues the initial images of a new batch.
  void start(const Batch& batch);
  /// Enqueues one iteration, preceded by a frame if one is due: as a graph, or operation by operation, so
  /// that a profiler sees each by its name. The first iteration of a stage also creates its graph, for which
  /// it may throw OutOfMemory; later ones do not throw it.
  void iterate(bool as_graph = true);
  /// Iterations of the batch that the device has finished. Never waits; throws a device Error if the device
  /// has failed.
  int finished_iterations() const;
  /// Enqueues what follows the last iteration: final losses, pictures and their copies to the host. The
  /// results of the previous batch must have been taken.
  void finish();

  /// Whether a finished batch has results that are not taken yet.
  bool has_results() const { return finishing_ != nullptr; }
  /// Whether they have arrived; polls the device only until they have.
  bool results_arrived() {
    arrived_ = arrived_ || copied_.passed();
    return arrived_;
  }
  /// Whether there are results that can be taken even if the device is lost.
  bool has_arrived_results() const { return has_results() && arrived_; }
  /// Upper bound of the bytes of one result.
  std::size_t result_bytes() const;
  /// The next result; those of deep layers come first. Waits until they have arrived.
  FilterResult take_result();
  /// Waits for everything that was enqueued.
  void drain() const;

 private:
  // The results of a batch: on the device, a snapshot that the next batch does not touch; on the host,
  // pinned.
  template <template <class> class Buffer>
  struct Results {
    Buffer<std::uint8_t> pictures;
    /// [frames][images][height][width][3]; only with frame_every. Not a snapshot: on the device, a batch
    /// waits until the frames of the previous one have been copied.
    Buffer<std::uint8_t> frames;
    Buffer<float> images;  // Only with keep_images.
    Buffer<float> trace;
    Buffer<kernels::AscentStatus> status;
    Buffer<int> steps;
    Buffer<float> first_losses;
    Buffer<float> losses;
    Buffer<float> gradient_norms;
    Buffer<int> inactive;
    Buffer<int> alive_from;
  };

  // What a stage needs for the images of a batch.
  struct StageLoop {
    int begin = 0;  // Number of its first iteration, less 1.
    std::unique_ptr<NetworkPasses> passes;
    std::unique_ptr<AscentProgram> program;
    Graph graph;  // Of an iteration.
  };

  int images() const { return plan().layout.images(); }
  // Values of a start image, of an unscaled image and of a picture.
  std::size_t start_size() const { return static_cast<std::size_t>(recipe_.first().extent.positions()) * 3; }
  std::size_t image_size() const { return static_cast<std::size_t>(recipe_.last().extent.positions()) * 3; }
  std::size_t picture_size() const {
    return static_cast<std::size_t>(recipe_.picture_extent().positions()) * 3;
  }
  // Frames without the finished picture.
  int frame_rows() const {
    return options_.frame_every > 0 ? frame_count(recipe_.iterations(), options_.frame_every) - 1 : 0;
  }
  int trace_rows() const { return recipe_.iterations() / trace_every_; }
  kernels::AscentState state() const;
  PassArguments pass_arguments(const StageLoop& stage) const;
  void enqueue_frame();
  void enqueue_iteration(StageLoop& stage);
  void record_losses(const StageLoop& stage, float* trace, int trace_every, int* progress);
  void upload_initial_images(const Batch& batch);
  void find_result(int image);
  FilterResult result_of(int image) const;

  const Network& network_;
  const Recipe& recipe_;
  const RenderOptions& options_;
  const int trace_every_;
  const int range_;
  std::vector<StageLoop> stages_;

  Stream stream_;
  Stream copy_stream_;
  Event snapshot_;  // The snapshot is complete.
  Event copied_;    // The copy on the host is complete.

  DeviceBuffer<float> start_images_;  // Only if they are given.
  DeviceBuffer<float> sums_;
  DeviceBuffer<int> layers_;
  DeviceBuffer<int> filters_;
  DeviceBuffer<float> trace_;
  DeviceBuffer<kernels::AscentStatus> status_;
  DeviceBuffer<int> steps_;
  DeviceBuffer<float> first_losses_;
  DeviceBuffer<float> losses_;
  DeviceBuffer<float> gradient_norms_;
  DeviceBuffer<int> inactive_;
  DeviceBuffer<int> alive_from_;
  DeviceBuffer<int> iteration_;
  Results<DeviceBuffer> finished_;
  Results<PinnedBuffer> results_;
  PinnedBuffer<int> staged_layers_;
  PinnedBuffer<int> staged_filters_;
  PinnedBuffer<float> staged_images_;
  PinnedBuffer<int> progress_;
  int* device_progress_ = nullptr;  // Device address of progress_.

  int enqueued_ = 0;               // Iterations enqueued in the batch.
  std::size_t running_stage_ = 0;  // The stage of the last of them.
  const Batch* running_ = nullptr;
  const Batch* finishing_ = nullptr;
  int next_result_ = 0;  // An image of `finishing_`.
  bool arrived_ = false;
};

}  // namespace filterscope::cuda
