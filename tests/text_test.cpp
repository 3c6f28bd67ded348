#include "host/text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace filterscope {
namespace {

TEST(Text, Thousands) {
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1000), "1,000");
  EXPECT_EQ(with_thousands(14714688), "14,714,688");
  EXPECT_EQ(with_thousands(-123), "-123");
  EXPECT_EQ(with_thousands(-1234567), "-1,234,567");
}

TEST(Text, NumbersAgreeWithTheirNouns) {
  EXPECT_EQ(counted(0, "filter"), "0 filters");
  EXPECT_EQ(counted(1, "filter"), "1 filter");
  EXPECT_EQ(counted(4224, "filter"), "4,224 filters");
}

TEST(Text, SizesHaveTheWidthFirst) {
  EXPECT_EQ(size_text({.height = 96, .width = 128}), "128 x 96");
}

TEST(Text, ShellQuoting) {
  const std::vector<std::string> words{"render", "block3_*:0-7", "--out=a b", "it's", ""};
  EXPECT_EQ(shell_quoted(words), "render 'block3_*:0-7' '--out=a b' 'it'\\''s' ''");
  EXPECT_EQ(shell_words(shell_quoted(words)), words);
}

}  // namespace
}  // namespace filterscope
