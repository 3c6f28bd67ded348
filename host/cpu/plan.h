#pragma once

#include <dnnl.hpp>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "../network.h"
#include "../weights.h"
#include "aligned.h"
#include "convolution.h"
#include "map.h"

namespace filterscope::cpu {

/// The layers between two pools, run depth first: `chunk` images go through all of them before the next chunk
/// starts, so that large maps stay in cache, while small maps can take many images to reuse the weights.
struct BlockPlan {
  int first_layer;
  int end_layer;  ///< One past the last layer that is convolved whole; the target layer's head is not part of
                  ///< a plan.
  int chunk;
  std::vector<std::shared_ptr<ConvolutionKernel>> forward;   ///< Of layers first_layer .. end_layer - 1.
  std::vector<std::shared_ptr<ConvolutionKernel>> backward;  ///< Likewise; empty for layer 0.
};

/// How one batch of images with the same target layer is computed. It fixes the bits of the result.
struct Plan {
  int target_layer;
  int images;    ///< Asked for.
  int capacity;  ///< Room needed: `images` rounded up to the largest chunk.
  std::vector<BlockPlan>
      blocks;  ///< Ascending; the last one is the block of the target layer and may be empty.
  std::size_t scratch_bytes;

  /// Chunks and algorithms, readable. How many images there are is no part of it: it does not change their
  /// bits.
  std::string describe(const Network& network) const;
};

/// How a plan is chosen.
enum class PlanRule {
  timed,   ///< Chunk and algorithm per block, layer and direction by timing on this machine.
  fixed,   ///< One image at a time, so that nothing depends on how many there are; Winograd where oneDNN has
           ///< it.
  direct,  ///< Likewise, without Winograd: slower, and closer to exact arithmetic.
};

/// Makes plans by one rule, and the kernels they need.
class Planner {
 public:
  Planner(const Network& network, const Weights& weights, Extent image, PlanRule rule);

  Plan make(int target_layer, int images);

  /// Layout of the input of `layer` (for layer 0 the network's input: block 0, planar) and of its own map.
  MapShape map_shape(int layer) const;
  int input_block(int layer) const;
  const dnnl::engine& engine() const { return engine_; }

 private:
  struct Choice {
    Algorithm algorithm;
    double seconds;  ///< 0 where not timed.
  };
  using Key = std::tuple<int, Pass, int>;  // layer, pass, images

  ConvolutionShape shape(int layer, int images) const;
  const Choice& choose(int layer, Pass pass, int images);
  Choice fixed_choice(int layer, Pass pass, int images);
  Choice timed_choice(int layer, Pass pass, int images);
  double time(ConvolutionKernel& kernel, int layer, int images);
  bool hopeless(int layer, Pass pass, Algorithm algorithm) const;
  std::shared_ptr<ConvolutionKernel> kernel(int layer, Pass pass, int images);
  int block_of_channels(int channels) const;
  void choose_block();

  const Network& network_;
  const Weights& weights_;
  Extent image_;
  PlanRule rule_;
  int block_ = 0;  // 0: NHWC
  dnnl::engine engine_;
  dnnl::stream stream_;
  WeightStore store_;
  std::map<Key, Choice> choices_;
  std::map<std::pair<int, Pass>, std::vector<Choice>> single_image_times_;  // of every algorithm
  AlignedBuffer<float> timing_source_;
  AlignedBuffer<float> timing_destination_;
  std::map<Key, std::weak_ptr<ConvolutionKernel>> kernels_;
};

}  // namespace filterscope::cpu
