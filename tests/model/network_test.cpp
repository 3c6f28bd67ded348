#include "host/model/network.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace filterscope {
namespace {

struct LayerRow {
  const char* name;
  int in_channels;
  int filters;
  bool pool_after;
  int map;        // Height and width at 96x96.
  int odd_map;    // At 33x33.
  int small_map;  // At 32x32.
  double mmac;    // Million multiply-adds at 96x96, to one decimal.
  double prefix;  // The sum of mmac before the layer.
};

constexpr LayerRow kVgg16[] = {
    {"block1_conv1", 3, 64, false, 96, 33, 32, 15.9, 0},
    {"block1_conv2", 64, 64, true, 96, 33, 32, 339.7, 15.9},
    {"block2_conv1", 64, 128, false, 48, 16, 16, 169.9, 355.7},
    {"block2_conv2", 128, 128, true, 48, 16, 16, 339.7, 525.5},
    {"block3_conv1", 128, 256, false, 24, 8, 8, 169.9, 865.3},
    {"block3_conv2", 256, 256, false, 24, 8, 8, 339.7, 1035.1},
    {"block3_conv3", 256, 256, true, 24, 8, 8, 339.7, 1374.9},
    {"block4_conv1", 256, 512, false, 12, 4, 4, 169.9, 1714.6},
    {"block4_conv2", 512, 512, false, 12, 4, 4, 339.7, 1884.5},
    {"block4_conv3", 512, 512, true, 12, 4, 4, 339.7, 2224.2},
    {"block5_conv1", 512, 512, false, 6, 2, 2, 84.9, 2564.0},
    {"block5_conv2", 512, 512, false, 6, 2, 2, 84.9, 2648.9},
    {"block5_conv3", 512, 512, true, 6, 2, 2, 84.9, 2733.8},
};
constexpr Extent kDefault{96, 96};

TEST(Vgg16, HasThePublishedShape) {
  const Network& network = vgg16();
  EXPECT_EQ(network.name, "vgg16");
  ASSERT_EQ(network.layer_count(), 13);
  EXPECT_EQ(network.filter_count(), 4224);
  EXPECT_EQ(network.parameters(), 14'714'688);
  for (int i = 0; i < network.layer_count(); ++i) {
    const Convolution& layer = network.convolutions[i];
    EXPECT_EQ(layer.name, kVgg16[i].name);
    EXPECT_EQ(layer.in_channels, kVgg16[i].in_channels) << layer.name;
    EXPECT_EQ(layer.out_channels, kVgg16[i].filters) << layer.name;
    EXPECT_EQ(layer.pool_after, kVgg16[i].pool_after) << layer.name;
  }
}

TEST(Vgg16, MapExtents) {
  const Network& network = vgg16();
  for (int i = 0; i < network.layer_count(); ++i) {
    EXPECT_EQ(network.map_extent(i, kDefault), (Extent{kVgg16[i].map, kVgg16[i].map})) << kVgg16[i].name;
    EXPECT_EQ(network.map_extent(i, {33, 33}), (Extent{kVgg16[i].odd_map, kVgg16[i].odd_map}))
        << kVgg16[i].name;
    EXPECT_EQ(network.map_extent(i, {32, 32}), (Extent{kVgg16[i].small_map, kVgg16[i].small_map}))
        << kVgg16[i].name;
  }
}

TEST(Vgg16, MapExtentsRoundDownAtEveryPool) {
  const Network& network = vgg16();
  const int last = network.layer_count() - 1;
  EXPECT_EQ(network.map_extent(last, {47, 95}), (Extent{2, 5}));
  EXPECT_EQ(network.map_extent(last, {31, 16}), (Extent{1, 1}));
  EXPECT_EQ(network.map_extent(1, {47, 95}), (Extent{47, 95}));
  EXPECT_EQ(network.map_extent(2, {47, 95}), (Extent{23, 47}));
}

TEST(Vgg16, MultiplyAdds) {
  const Network& network = vgg16();
  double prefix = 0;
  for (int i = 0; i < network.layer_count(); ++i) {
    const double mmac = network.forward_macs(i, kDefault) / 1e6;
    EXPECT_NEAR(mmac, kVgg16[i].mmac, 0.0501) << kVgg16[i].name;
    EXPECT_NEAR(prefix, kVgg16[i].prefix, 0.0501) << kVgg16[i].name;
    prefix += mmac;
  }
  EXPECT_DOUBLE_EQ(network.forward_macs(0, {5, 7}), 9.0 * 3 * 64 * 35);
}

TEST(Vgg16, WorkOfOneIteration) {
  const Network& network = vgg16();
  // The target layer costs one channel of a convolution, forward and backward: 2 x 2 x 9 x 3 x 96 x 96.
  EXPECT_DOUBLE_EQ(network.iteration_flops(0, kDefault), 995'328);

  double per_iteration = 0;
  double per_iteration_without_head = 0;
  for (int i = 0; i < network.layer_count(); ++i) {
    const int filters = network.convolutions[i].out_channels;
    per_iteration += filters * network.iteration_flops(i, kDefault);
    per_iteration_without_head += filters * 4e6 * (kVgg16[i].prefix + kVgg16[i].mmac);
  }
  EXPECT_NEAR(per_iteration / 1e12, 32.0, 0.05);
  EXPECT_NEAR(per_iteration * 500 / 1e15, 16.0, 0.05);
  EXPECT_NEAR(per_iteration_without_head / 1e12, 35.5, 0.05);
  // GFLOP of one filter, to two figures.
  EXPECT_NEAR(network.iteration_flops(1, kDefault) / 1e9, 0.08, 0.01);
  EXPECT_NEAR(network.iteration_flops(3, kDefault) / 1e9, 2.1, 0.0501);
  EXPECT_NEAR(network.iteration_flops(6, kDefault) / 1e9, 5.5, 0.0501);
  EXPECT_NEAR(network.iteration_flops(9, kDefault) / 1e9, 8.9, 0.0501);
  EXPECT_NEAR(network.iteration_flops(12, kDefault) / 1e9, 10.9, 0.0501);
}

TEST(Vgg16, FindsLayersByName) {
  const Network& network = vgg16();
  for (int i = 0; i < network.layer_count(); ++i) EXPECT_EQ(network.find(kVgg16[i].name), i);
  EXPECT_EQ(network.find("block1_conv3"), std::nullopt);
  EXPECT_EQ(network.find("Block1_conv1"), std::nullopt);
  EXPECT_EQ(network.find(""), std::nullopt);
}

TEST(Vgg, OtherDepths) {
  struct Row {
    int depth;
    int convolutions;
    std::int64_t parameters;
  };
  // Keras and torchvision agree on these counts of the convolutional parts.
  for (const Row& row :
       {Row{11, 8, 9'220'480}, Row{13, 10, 9'404'992}, Row{16, 13, 14'714'688}, Row{19, 16, 20'024'384}}) {
    const Network network = vgg(row.depth);
    EXPECT_EQ(network.name, "vgg" + std::to_string(row.depth));
    EXPECT_EQ(network.layer_count(), row.convolutions) << network.name;
    EXPECT_EQ(network.parameters(), row.parameters) << network.name;
    EXPECT_EQ(network.smallest_image(), 32) << network.name;
    int pools = 0;
    int channels = 3;
    for (const Convolution& layer : network.convolutions) {
      EXPECT_EQ(layer.in_channels, channels) << network.name << " " << layer.name;
      channels = layer.out_channels;
      pools += layer.pool_after ? 1 : 0;
    }
    EXPECT_EQ(pools, 5) << network.name;
    EXPECT_TRUE(network.convolutions.back().pool_after) << network.name;
  }
}

TEST(Vgg, RejectsOtherDepths) {
  EXPECT_THROW(vgg(12), std::invalid_argument);
  EXPECT_THROW(vgg(0), std::invalid_argument);
}

TEST(Network, CountsEachKernelAndBias) {
  const Convolution layer{.name = "a", .in_channels = 3, .out_channels = 5, .pool_after = false};
  EXPECT_EQ(layer.parameters(), 9 * 3 * 5 + 5);
  const Network network{.name = "two", .convolutions = {layer, {"b", 5, 7, true}}};
  EXPECT_EQ(network.parameters(), 140 + 9 * 5 * 7 + 7);
  EXPECT_EQ(network.filter_count(), 12);
  EXPECT_EQ(network.smallest_image(), 2);
}

}  // namespace
}  // namespace filterscope
