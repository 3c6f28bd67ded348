#include "host/run/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace filterscope {
namespace {

TEST(BatchLayout, DeepestImagesComeFirst) {
  const BatchLayout layout({2, 0, 3, 1, 0});
  EXPECT_EQ(layout.images(), 6);
  EXPECT_EQ(layout.deepest_layer(), 3);
  EXPECT_EQ(layout.continuing_past(3), 0);
  EXPECT_EQ(layout.continuing_past(2), 1);
  EXPECT_EQ(layout.continuing_past(1), 4);
  EXPECT_EQ(layout.continuing_past(0), 4);
  EXPECT_EQ(layout.targeting(0), 2);
  std::vector<int> layers;
  for (int image = 0; image < layout.images(); ++image) layers.push_back(layout.layer_of(image));
  EXPECT_THAT(layers, testing::ElementsAre(3, 2, 2, 2, 0, 0));
}

TEST(Batch, CountsItsFiltersWithoutPadding) {
  const Batch batch{{{1, 0}, {1, 0}, {0, 4}}, {3, Batch::kPadding, 0}};
  EXPECT_EQ(batch.filter_count(), 2);
}

}  // namespace
}  // namespace filterscope
