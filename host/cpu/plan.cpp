#include "plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "aligned.h"
#include "kernels.h"

namespace filterscope::cpu {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Winograd wastes most of its tile on a smaller map.
constexpr int kSmallestWinogradMap = 4;
constexpr int kTimedRuns = 3;
constexpr double kHopeless = 1.8;
constexpr int kChunks[] = {1, 4, 16, 64};

}  // namespace

std::string Plan::describe(const Network& network) const {
  std::string text = network.convolutions[target_layer].name + ":";
  for (const BlockPlan& block : blocks) {
    if (block.first_layer == block.end_layer) continue;
    text += fmt::format(" {} by {} [", network.convolutions[block.first_layer].name, block.chunk);
    for (std::size_t i = 0; i < block.forward.size(); ++i) {
      text += fmt::format("{}{}", i == 0 ? "" : "; ", block.forward[i]->name());
      if (block.backward[i]) text += fmt::format(", back {}", block.backward[i]->name());
    }
    text += "]";
  }
  text += fmt::format(" head {}", kernels().name);
  return text;
}

Planner::Planner(const Network& network, const Weights& weights, Extent image, PlanRule rule)
    : network_(network),
      weights_(weights),
      image_(image),
      rule_(rule),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_) {
  choose_block();
}

int Planner::block_of_channels(int channels) const {
  return block_ == 0 ? channels : block_;
}

int Planner::input_block(int layer) const {
  if (layer > 0) return block_of_channels(network_.convolutions[layer].in_channels);
  return block_ == 0 ? network_.convolutions[0].in_channels : 0;
}

MapShape Planner::map_shape(int layer) const {
  const Extent extent = network_.map_extent(layer, image_);
  const int channels = network_.convolutions[layer].out_channels;
  return {channels, extent.height, extent.width, block_of_channels(channels)};
}

ConvolutionShape Planner::shape(int layer, int images) const {
  const Convolution& convolution = network_.convolutions[layer];
  return {.in_channels = convolution.in_channels,
          .out_channels = convolution.out_channels,
          .extent = network_.map_extent(layer, image_),
          .images = images,
          .in_block = input_block(layer),
          .out_block = block_of_channels(convolution.out_channels)};
}

// The widest vectors' blocks where every map divides into them. oneDNN 3's newest kernels want NHWC instead:
// there a middle layer decides by timing.
void Planner::choose_block() {
  int widest = 16;
  if (dnnl::get_effective_cpu_isa() != dnnl::cpu_isa::avx512_core &&
      std::string_view(kernels().name) != "avx512") {
    widest = 8;
  }
  for (const Convolution& convolution : network_.convolutions) {
    while (widest > 1 && convolution.out_channels % widest != 0) widest /= 2;
  }
  block_ = widest >= 8 ? widest : 0;
  if (block_ == 0 || rule_ != PlanRule::timed || onednn_has_winograd()) return;

  int middle = -1;
  for (int layer = 1; layer < network_.layer_count(); ++layer) {
    if (weights_.holds(layer)) middle = layer;
    if (middle == network_.layer_count() / 2) break;
  }
  if (middle < 0) return;
  const int blocked = block_;
  double seconds[2] = {0, 0};
  for (const int layout : {blocked, 0}) {
    block_ = layout;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      seconds[layout == 0] += timed_choice(middle, pass, 1).seconds;
    }
  }
  block_ = seconds[1] < seconds[0] ? 0 : blocked;
}

double Planner::time(ConvolutionKernel& kernel, int layer, int images) {
  const MapShape map = map_shape(layer);
  const int channels = std::max(map.channels, network_.convolutions[layer].in_channels);
  const std::size_t size = map.positions() * channels * images;
  if (timing_source_.size() < size) {
    timing_source_ = AlignedBuffer<float>(size);
    timing_destination_ = AlignedBuffer<float>(size);
    std::ranges::fill(timing_source_.span(), 0.5f);
  }
  AlignedBuffer<std::byte> scratch(kernel.scratch_bytes());
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run <= kTimedRuns; ++run) {
    const auto start = Clock::now();
    kernel.execute(stream_, timing_source_.data(), timing_destination_.data(), scratch.data());
    stream_.wait();
    if (run > 0) best = std::min(best, seconds_since(start));
  }
  return best;
}

Planner::Choice Planner::fixed_choice(int layer, Pass pass, int images) {
  const Extent extent = network_.map_extent(layer, image_);
  const bool large = std::min(extent.height, extent.width) >= kSmallestWinogradMap;
  if (rule_ == PlanRule::fixed && large) {
    const Algorithm winograd{.winograd = true};
    if (ConvolutionKernel::make_for_timing(engine_, shape(layer, images), pass, winograd))
      return {winograd, 0};
  }
  return {{.winograd = false}, 0};
}

// An algorithm that is far behind for one image does not win for several.
bool Planner::hopeless(int layer, Pass pass, Algorithm algorithm) const {
  const auto known = single_image_times_.find({layer, pass});
  if (known == single_image_times_.end()) return false;
  double best = std::numeric_limits<double>::infinity();
  double own = 0;
  for (const Choice& choice : known->second) {
    best = std::min(best, choice.seconds);
    if (choice.algorithm == algorithm) own = choice.seconds;
  }
  return own > kHopeless * best;
}

Planner::Choice Planner::timed_choice(int layer, Pass pass, int images) {
  std::vector<Algorithm> candidates{{.winograd = true}, {.winograd = false}};
  if (pass == Pass::backward) {
    candidates.push_back({.winograd = true, .as_forward = false});
    candidates.push_back({.winograd = false, .as_forward = false});
  }
  Choice best{candidates[1], std::numeric_limits<double>::infinity()};
  for (const Algorithm& algorithm : candidates) {
    if (hopeless(layer, pass, algorithm)) continue;
    const auto candidate = ConvolutionKernel::make_for_timing(engine_, shape(layer, images), pass, algorithm);
    if (!candidate || (candidate->is_reference() && best.seconds < std::numeric_limits<double>::infinity()))
      continue;
    const Choice timed{algorithm, time(*candidate, layer, images)};
    if (images == 1) single_image_times_[{layer, pass}].push_back(timed);
    if (timed.seconds < best.seconds) best = timed;
  }
  return best;
}

const Planner::Choice& Planner::choose(int layer, Pass pass, int images) {
  const Key key{layer, pass, images};
  if (const auto known = choices_.find(key); known != choices_.end()) return known->second;
  return choices_[key] =
             rule_ == PlanRule::timed ? timed_choice(layer, pass, images) : fixed_choice(layer, pass, images);
}

std::shared_ptr<ConvolutionKernel> Planner::kernel(int layer, Pass pass, int images) {
  std::weak_ptr<ConvolutionKernel>& known = kernels_[{layer, pass, images}];
  if (auto existing = known.lock()) return existing;
  std::shared_ptr<ConvolutionKernel> made =
      ConvolutionKernel::make(engine_, shape(layer, images), pass, choose(layer, pass, images).algorithm,
                              *weights_.layers[layer], store_);
  known = made;
  return made;
}

Plan Planner::make(int target_layer, int images) {
  Plan plan{
      .target_layer = target_layer, .images = images, .capacity = images, .blocks = {}, .scratch_bytes = 0};
  int first = 0;
  while (true) {
    int end = first;
    while (end < target_layer && !network_.convolutions[end].pool_after) ++end;
    const bool pooled = end < target_layer;
    if (pooled) ++end;

    BlockPlan block{.first_layer = first, .end_layer = end, .chunk = 1, .forward = {}, .backward = {}};
    double best = std::numeric_limits<double>::infinity();
    for (const int chunk : kChunks) {
      if (chunk > images || (rule_ != PlanRule::timed && chunk > 1)) break;
      double seconds = 0;
      for (int layer = first; layer < end; ++layer) {
        seconds += choose(layer, Pass::forward, chunk).seconds;
        if (layer > 0) seconds += choose(layer, Pass::backward, chunk).seconds;
      }
      seconds *= (images + chunk - 1) / chunk;
      if (seconds < best) {
        best = seconds;
        block.chunk = chunk;
      }
    }
    for (int layer = first; layer < end; ++layer) {
      block.forward.push_back(kernel(layer, Pass::forward, block.chunk));
      block.backward.push_back(layer > 0 ? kernel(layer, Pass::backward, block.chunk) : nullptr);
      plan.scratch_bytes = std::max(plan.scratch_bytes, block.forward.back()->scratch_bytes());
      if (layer > 0)
        plan.scratch_bytes = std::max(plan.scratch_bytes, block.backward.back()->scratch_bytes());
    }
    plan.capacity = std::max(plan.capacity, (images + block.chunk - 1) / block.chunk * block.chunk);
    plan.blocks.push_back(std::move(block));
    first = end;
    if (!pooled) break;
  }
  return plan;
}

}  // namespace filterscope::cpu
