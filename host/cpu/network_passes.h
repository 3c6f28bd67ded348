#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "aligned.h"
#include "convolution.h"
#include "kernels.h"
#include "map.h"
#include "plan.h"

namespace filterscope::cpu {

/// The forward and backward pass through the layers below one target layer, with one filter of that layer per
/// image: losses, and their gradients with respect to the images. Only masks are kept between the passes, one
/// bit per ReLU and one byte per pool window: with the weights fixed, the gradient depends on nothing else.
/// Only one channel of the target layer is computed per image, since the loss depends on no other.
class NetworkPasses {
 public:
  /// Allocates the memory for `plan`. References to network and weights must outlive the passes. `filters`
  /// has the target filter of each of the plan's images. Of `stage`, input_mapping and objective matter.
  NetworkPasses(const Network& network, const Weights& weights, const Stage& stage, const Planner& planner,
                Plan plan, std::span<const int> filters);

  /// `images` is [plan.images][height][width][3]. losses[i] is the mean of image i's response over the
  /// positions that the objective counts; after the ReLU, it is exactly zero if none of them is above zero.
  /// `gradients`, laid out as the images, receives the gradient of losses[i] with respect to image i or, if
  /// the objective rescues and losses[i] is zero, that of the mean before the ReLU; its negative if the
  /// objective minimises. Returns false if `stop` is requested meanwhile; losses and gradients are undefined
  /// then.
  bool loss_and_gradient(const float* images, double* losses, float* gradients,
                         const std::stop_token& stop = {});
  /// Computes only the losses.
  void loss(const float* images, double* losses);

  const Plan& plan() const { return plan_; }

 private:
  /// A map for each image of the batch.
  struct Boundary {
    MapShape shape{};
    AlignedBuffer<float> maps;
    float* at(int image) { return maps.data() + shape.size() * image; }
  };

  bool run(const float* images, double* losses, float* gradients, const std::stop_token& stop);
  void load_input(const float* images, int first, int count);
  void store_gradient(int first, int count, float* gradients);
  void forward_block(std::size_t block, int first, int count);
  void backward_block(std::size_t block, int first, int count, const float* gradient);
  bool whole_map() const;
  double window_sum(const float* response) const;
  void clear_outside(float* response) const;
  void head(int first, int count, const float* maps, double* losses);
  void head_gradient(int first, int count, const float* maps, float* gradient);
  int images_in_chunk(const BlockPlan& block, int first) const;
  float* boundary_maps(std::size_t block, int first) { return boundaries_[block].at(block == 0 ? 0 : first); }
  std::uint8_t* masks_of(int layer, int first) { return masks_[layer].data() + mask_stride_[layer] * first; }
  float* other(const float* map) {
    return map == scratch_maps_[0].data() ? scratch_maps_[1].data() : scratch_maps_[0].data();
  }
  std::size_t image_size() const { return boundaries_[0].shape.positions() * 3; }

  const Network& network_;
  InputMapping mapping_;
  Objective objective_;
  Plan plan_;
  const Kernels& kernels_ = kernels();

  MapShape head_shape_{};         // The head's input.
  MapWindow window_{};            // The positions that the objective counts.
  bool head_below_relu_ = false;  // Whether the head reads the output of a ReLU, not of a pool or the input.
  std::vector<Boundary>
      boundaries_;  // [b]: the input of block b, later its gradient; [0] is one chunk of network input.
  std::vector<AlignedBuffer<std::uint8_t>> masks_;  // By layer: ReLU masks or pool indices.
  std::vector<std::size_t> mask_stride_;            // Bytes per image.
  AlignedBuffer<float> scratch_maps_[2];            // Each holds one chunk of the largest map.
  Workspace workspace_;
  // [images][height][width] of the target layer. From the loss on, positions above zero pass the gradient.
  AlignedBuffer<float> responses_;
  AlignedBuffer<float> head_weights_;  // [images][blocks][9][kLanes]
  std::vector<float> head_bias_;
  AlignedBuffer<float> thread_scratch_;  // One slice per thread.
  std::size_t thread_scratch_size_ = 0;
};

/// Memory of such the passes for `images` images, and of the transformed weights that its plan needs.
std::size_t passes_bytes(const Network& network, const Planner& planner, int target_layer, int images);

}  // namespace filterscope::cpu
