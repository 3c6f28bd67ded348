#include "host/base/text.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
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

TEST(Text, ShellQuotingIsUtf8OnOneLine) {
  const std::vector<std::string> words{
      "caf\xe9 it's \\ 1\xe9"
      "1",
      "caf\xc3\xa9",
      "a\nb\x7f\x1b[J",
      "$x",
      "\xff",
      "$"};
  const std::string line = shell_quoted(words);
  EXPECT_EQ(line, R"($'caf\351 it\'s \\ 1\3511' 'café' $'a\012b\177\033[J' '$x' $'\377' '$')");
  EXPECT_EQ(shell_words(line), words);
  EXPECT_TRUE(is_utf8(line));
}

TEST(Text, ShellWordsAreThoseThatWereQuoted) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<std::string> words(1 + random() % 3);
    for (std::string& word : words)
      for (std::size_t length = random() % 6; length > 0; --length)
        word += trial % 2 == 0 ? static_cast<char>(1 + random() % 255) : "'\\$ 0a\n\xe9"[random() % 8];
    const std::string line = shell_quoted(words);
    ASSERT_EQ(shell_words(line), words) << line;
    ASSERT_TRUE(is_utf8(line));
    ASSERT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(Text, Utf8) {
  for (const char* text :
       {"", "a", "\xc3\xa9", "e\xcc\x81", "\xe2\x82\xac", "\xf0\x9f\x8e\xa8", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(text)) << text;
  for (const char* text : {"\xe9", "a\xe9 b", "\xc3", "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                           "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "\xff"})
    EXPECT_FALSE(is_utf8(text)) << percent_encoded(text);
}

TEST(Text, PercentEncodedPaths) {
  EXPECT_EQ(percent_encoded("../lat\xe9/caf\xc3\xa9/"), "../lat%E9/caf%C3%A9/");
  EXPECT_EQ(percent_encoded("c:foo?#&%41 \"'\\<\n"), "c%3Afoo%3F%23%26%2541%20%22%27%5C%3C%0A");
  EXPECT_EQ(percent_encoded("~a_B-9.png"), "~a_B-9.png");
}

}  // namespace
}  // namespace filterscope
