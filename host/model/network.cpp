#include "network.h"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace filterscope {

namespace {

struct VggRow {
  int depth;
  std::array<int, 5> convolutions_per_block;
};

constexpr std::array<VggRow, 4> kVggRows{{
    {11, {1, 1, 2, 2, 2}},
    {13, {2, 2, 2, 2, 2}},
    {16, {2, 2, 3, 3, 3}},
    {19, {2, 2, 4, 4, 4}},
}};
constexpr std::array<int, 5> kVggChannels{64, 128, 256, 512, 512};

}  // namespace

std::optional<int> Network::find(std::string_view layer) const {
  const auto found = std::ranges::find(convolutions, layer, &Convolution::name);
  if (found == convolutions.end()) return std::nullopt;
  return static_cast<int>(found - convolutions.begin());
}

int Network::filter_count() const {
  int count = 0;
  for (const Convolution& convolution : convolutions) count += convolution.out_channels;
  return count;
}

std::int64_t Network::parameters() const {
  std::int64_t count = 0;
  for (const Convolution& convolution : convolutions) count += convolution.parameters();
  return count;
}

Extent Network::map_extent(int layer, Extent image) const {
  Extent extent = image;
  for (int below = 0; below < layer; ++below) {
    if (convolutions[below].pool_after) extent = {extent.height / 2, extent.width / 2};
  }
  return extent;
}

int Network::smallest_image() const {
  int size = 1;
  for (const Convolution& convolution : convolutions) {
    if (convolution.pool_after) size *= 2;
  }
  return size;
}

double Network::forward_macs(int layer, Extent image) const {
  const Convolution& convolution = convolutions[layer];
  return 9.0 * convolution.in_channels * convolution.out_channels *
         static_cast<double>(map_extent(layer, image).positions());
}

double Network::iteration_flops(int layer, Extent image) const {
  double macs = 2 * forward_macs(layer, image) / convolutions[layer].out_channels;
  for (int below = 0; below < layer; ++below) macs += 2 * forward_macs(below, image);
  return 2 * macs;
}

Network vgg(int depth) {
  const auto row = std::ranges::find(kVggRows, depth, &VggRow::depth);
  if (row == kVggRows.end()) throw std::invalid_argument("vgg: depth must be 11, 13, 16 or 19");
  Network network{.name = "vgg" + std::to_string(depth), .convolutions = {}};
  int channels = 3;
  for (int block = 0; block < 5; ++block) {
    for (int i = 0; i < row->convolutions_per_block[block]; ++i) {
      network.convolutions.push_back(
          {.name = "block" + std::to_string(block + 1) + "_conv" + std::to_string(i + 1),
           .in_channels = channels,
           .out_channels = kVggChannels[block],
           .pool_after = i + 1 == row->convolutions_per_block[block]});
      channels = kVggChannels[block];
    }
  }
  return network;
}

const Network& vgg16() {
  static const Network network = vgg(16);
  return network;
}

}  // namespace filterscope
