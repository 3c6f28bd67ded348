#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "../model/network.h"
#include "../model/weights/weights.h"
#include "aligned.h"
#include "kernels.h"
#include "map.h"

namespace filterscope::cpu {

/// The direction of a convolution.
enum class Pass {
  forward,   ///< Input map -> the layer's map, with bias and ReLU.
  backward,  ///< dgrad: gradient of the layer's pre-activation -> gradient of its input.
};

/// The weights of one layer for one pass, transformed for Kernels::multiply:
/// [point][out block][in_blocks * kLanes][kLanes], where "in" and "out" are those of the pass.
class TransformedWeights {
 public:
  /// `in_channels` and `out_channels` are those of the layer, for either pass.
  TransformedWeights(const LayerWeights& weights, int in_channels, int out_channels, Pass pass, int tile,
                     const Kernels& table = kernels());

  /// The memory that such weights take.
  static std::size_t bytes(int in_channels, int out_channels, int tile);

  const float* at(int point, int out_block) const;
  /// Only for the forward pass: [out_blocks * kLanes]; lanes beyond the last channel are zero.
  const float* bias() const { return bias_.data(); }

 private:
  int in_blocks_;
  int out_blocks_;
  AlignedBuffer<float> values_;
  AlignedBuffer<float> bias_;
};

/// How the tiles of a convolution are processed.
struct Tiling {
  int tile;  ///< 2, 4 or 6: F(tile x tile, 3 x 3).
  /// The number of tiles that go through all three steps before the next ones start.
  int slots;
  /// Whether all threads share the steps of the same tiles, so that weights too large for a core's cache are
  /// read once; otherwise each thread processes different tiles.
  bool shared;
};

/// The floats that the transformed tiles of a convolution between such maps take, in either direction: for
/// each thread, or for all together if the tiling is shared.
std::size_t workspace_floats(const MapShape& in, const MapShape& out, const Tiling& tiling);

/// Memory for transformed tiles, shared by all convolutions, of which one runs at a time.
class Workspace {
 public:
  /// Reserves floats for each thread, or for all together.
  void reserve(std::size_t per_thread, std::size_t together, int threads);
  float* of_thread(int thread) { return values_.data() + per_thread_ * thread; }
  float* together() { return values_.data(); }
  std::span<float> span() { return values_.span(); }

 private:
  std::size_t per_thread_ = 0;
  AlignedBuffer<float> values_;
};

/// One convolution of one layer, forward or backward, over any number of images.
class WinogradConvolution {
 public:
  /// `in` and `out` are the maps that the pass reads and writes, of equal extent.
  WinogradConvolution(const MapShape& in, const MapShape& out, const Tiling& tiling,
                      std::shared_ptr<const TransformedWeights> weights, const Kernels& table = kernels());

  /// Computes maps with bias and ReLU, and their ReLU masks unless null.
  void forward(int images, const float* maps, float* results, std::uint8_t* masks,
               Workspace& workspace) const;
  /// The same, followed by the max-pool; also writes the pool indices.
  void forward_pool(int images, const float* maps, float* pooled, std::uint8_t* argmax,
                    Workspace& workspace) const;
  /// dgrad: gradients of the input from those of the pre-activations; zero where `masks`, unless null, has no
  /// bit.
  void backward(int images, const float* gradients, float* results, const std::uint8_t* masks,
                Workspace& workspace) const;
  /// The same from the gradients of the pooled maps.
  void backward_pool(int images, const float* pooled_gradients, const std::uint8_t* argmax, float* results,
                     const std::uint8_t* masks, Workspace& workspace) const;

  void reserve(Workspace& workspace, int threads) const;
  const Tiling& tiling() const { return tiling_; }

 private:
  // input(TileRange, TransformedTiles) and output(TileRange, TransformedTiles) perform the first and last
  // step.
  template <typename Input, typename Output>
  void run(int images, const Input& input, const Output& output, Workspace& workspace) const;

  MapShape in_;
  MapShape out_;
  Tiling tiling_;
  TileGrid grid_;
  std::shared_ptr<const TransformedWeights> weights_;
  const Kernels& kernels_;
};

}  // namespace filterscope::cpu
