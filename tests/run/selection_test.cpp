#include "host/run/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "host/base/error.h"

namespace filterscope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t kSeed = 7;

std::vector<FilterId> parse(std::vector<std::string> selectors, std::uint64_t seed = kSeed) {
  return parse_selection(selectors, vgg16(), seed);
}

std::vector<int> filters_of(const std::vector<FilterId>& selection, int layer) {
  std::vector<int> filters;
  for (const FilterId& id : selection) {
    if (id.layer == layer) filters.push_back(id.filter);
  }
  return filters;
}

// The message of the usage Error for the selectors; empty if they are accepted.
std::string message_of(std::vector<std::string> selectors) {
  try {
    parse(std::move(selectors));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return {};
}

TEST(Selection, NoSelectorMeansAll) {
  const auto all = parse({});
  EXPECT_EQ(all.size(), 4224u);
  EXPECT_EQ(all, parse({"all"}));
  EXPECT_EQ(all, parse({"*"}));
  EXPECT_TRUE(std::ranges::is_sorted(all));
}

TEST(Selection, ShortSelectorsNameTheSameFilters) {
  for (const char* selectors : {"block1_conv1", "block1_conv1:0", "block1_conv1:62-63 block2_conv1",
                                "block1_conv2:0-62 block5_conv3:7,9-10"}) {
    const std::string text = selectors;
    std::vector<std::string> words{text.substr(0, text.find(' '))};
    if (text.find(' ') != std::string::npos) words.push_back(text.substr(text.find(' ') + 1));
    EXPECT_EQ(selectors_of(parse(words), vgg16()), text);
  }
  EXPECT_EQ(selectors_of({}, vgg16()), "");
}

TEST(Selection, LayerNamesAllItsFilters) {
  const auto selection = parse({"block3_conv1"});
  ASSERT_EQ(selection.size(), 256u);
  EXPECT_EQ(selection.front(), (FilterId{4, 0}));
  EXPECT_EQ(selection.back(), (FilterId{4, 255}));
}

TEST(Selection, RangesAreInclusive) {
  EXPECT_THAT(parse({"block1_conv2:0-2,18,62-63"}),
              ElementsAre(FilterId{1, 0}, FilterId{1, 1}, FilterId{1, 2}, FilterId{1, 18}, FilterId{1, 62},
                          FilterId{1, 63}));
  EXPECT_THAT(parse({"block1_conv1:5-5"}), ElementsAre(FilterId{0, 5}));
}

TEST(Selection, IsAscendingWithEachFilterOnce) {
  EXPECT_THAT(parse({"block2_conv1:9", "block1_conv1:3,1-3,1", "block1_conv1:2"}),
              ElementsAre(FilterId{0, 1}, FilterId{0, 2}, FilterId{0, 3}, FilterId{2, 9}));
}

TEST(Selection, StarMatchesAnyRunOfCharacters) {
  const auto block3 = parse({"block3_*:0-7"});
  EXPECT_EQ(block3.size(), 24u);
  EXPECT_EQ(block3.front().layer, 4);
  EXPECT_EQ(block3.back().layer, 6);
  EXPECT_EQ(parse({"*conv3:1"}).size(), 3u);
  EXPECT_EQ(parse({"b*5*1:1"}), parse({"block5_conv1:1"}));
  EXPECT_EQ(parse({"block1_conv1*:1"}), parse({"block1_conv1:1"}));
  EXPECT_EQ(parse({"**conv**2**:0"}), parse({"*conv2:0"}));
}

TEST(Selection, RandomDrawsThatManyDifferentFilters) {
  for (int count : {1, 2, 5, 63, 64}) {
    const auto selection = parse({"block1_conv1:random" + std::to_string(count)});
    EXPECT_EQ(selection.size(), static_cast<std::size_t>(count));
    EXPECT_TRUE(std::ranges::all_of(selection, [](FilterId id) { return id.layer == 0 && id.filter < 64; }));
  }
  EXPECT_EQ(parse({"*:random3"}).size(), 39u);
}

TEST(Selection, RandomDrawDependsOnSeedAndLayerOnly) {
  const auto alone = parse({"block4_conv2:random5"});
  EXPECT_EQ(alone, parse({"block4_conv2:random5"}));
  EXPECT_NE(alone, parse({"block4_conv2:random5"}, kSeed + 1));
  EXPECT_NE(alone, parse({"block4_conv2:random5"}, kSeed + (std::uint64_t{1} << 32)));
  EXPECT_NE(filters_of(parse({"block4_*:random5"}), 7), filters_of(parse({"block4_*:random5"}), 9));
  EXPECT_EQ(filters_of(alone, 8), filters_of(parse({"block1_conv1:random9", "*:random5"}), 8));

  const auto mixed = filters_of(parse({"block4_conv2:0-2,random5"}), 8);
  for (const int filter : filters_of(alone, 8)) EXPECT_THAT(mixed, ::testing::Contains(filter));
}

TEST(Selection, SmallerRandomDrawIsPartOfALargerOne) {
  const auto large = parse({"block2_conv1:random20"});
  for (const FilterId& id : parse({"block2_conv1:random6"})) EXPECT_THAT(large, ::testing::Contains(id));
}

TEST(Selection, RandomDrawReachesEveryFilter) {
  std::set<int> seen;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    for (const FilterId& id : parse({"block1_conv1:random1"}, seed)) seen.insert(id.filter);
  }
  EXPECT_EQ(seen.size(), 64u);
}

TEST(Selection, WorksOnOtherNetworks) {
  const Network network = vgg(11);
  const std::vector<std::string> selectors{"block5_conv2:511"};
  EXPECT_THAT(parse_selection(selectors, network, 0), ElementsAre(FilterId{7, 511}));
  const std::vector<std::string> missing{"block1_conv2"};
  EXPECT_THROW(parse_selection(missing, network, 0), Error);
}

TEST(Selection, MisspeltLayerGetsTheNearestNameAndTheKnownOnes) {
  EXPECT_THAT(message_of({"block1_conv1", "blok3_conv1:0-3"}),
              AllOf(HasSubstr("\"blok3_conv1:0-3\""), HasSubstr("did you mean \"block3_conv1\"?"),
                    HasSubstr("block1_conv1, block1_conv2"), HasSubstr("block5_conv3")));
  EXPECT_THAT(message_of({"Block3_Conv2"}), HasSubstr("did you mean \"block3_conv2\"?"));
  EXPECT_THAT(message_of({"ALL"}), HasSubstr("did you mean \"all\"?"));
  EXPECT_THAT(message_of({"block1"}), HasSubstr("did you mean \"block1_*\"?"));
  EXPECT_THAT(message_of({"conv3_2:7"}), HasSubstr("did you mean \"block3_conv2\"?"));
  EXPECT_THAT(message_of({"conv3_9"}), Not(HasSubstr("conv9")));
  EXPECT_THAT(message_of({"mixed_7a_branch"}),
              AllOf(Not(HasSubstr("did you mean")), HasSubstr("block5_conv3")));
  EXPECT_THAT(message_of({"block9_*"}), AllOf(HasSubstr("matches \"block9_*\""), HasSubstr("block5_conv3")));
}

TEST(Selection, NamesTheSelectorAndThePartAtFault) {
  EXPECT_THAT(
      message_of({"block1_conv1:0,64"}),
      AllOf(HasSubstr("\"block1_conv1:0,64\""), HasSubstr("\"64\""), HasSubstr("block1_conv1 are 0..63")));
  EXPECT_THAT(message_of({"block1_conv1:60-64"}), HasSubstr("0..63"));
  EXPECT_THAT(message_of({"block1_conv1:60-99"}), AllOf(HasSubstr("\"60-99\""), HasSubstr("0..63")));
  EXPECT_THAT(message_of({"*:0-511"}), AllOf(HasSubstr("\"*:0-511\""), HasSubstr("block1_conv1 are 0..63")));
  EXPECT_THAT(message_of({"block1_conv1:9-3"}), AllOf(HasSubstr("backwards"), HasSubstr("\"3-9\"")));
  EXPECT_THAT(message_of({"block1_conv1:99999999999999999999"}), HasSubstr("0..63"));
  EXPECT_THAT(message_of({"block1_conv1:4294967296"}), HasSubstr("0..63"));
  EXPECT_THAT(message_of({"all:0-7"}), HasSubstr("\"*:0-7\""));
}

TEST(Selection, RefusesWhatIsNoList) {
  for (const char* selector : {"block1_conv1:",
                               "block1_conv1:,",
                               "block1_conv1:1,",
                               "block1_conv1:,1",
                               "block1_conv1:1,,2",
                               "block1_conv1:-1",
                               "block1_conv1:1-",
                               "block1_conv1:-",
                               "block1_conv1:1-2-3",
                               "block1_conv1:a",
                               "block1_conv1:1 2",
                               "block1_conv1:+1",
                               "block1_conv1:0x1",
                               "block1_conv1:1:2",
                               "block1_conv1:*",
                               "block1_conv1:randomly",
                               "block1_conv1:random",
                               "block1_conv1:random-1",
                               "block1_conv1:random0",
                               "block1_conv1:random65",
                               "block1_conv1:Random3",
                               "",
                               ":",
                               ":0-7",
                               "all ",
                               " "}) {
    EXPECT_THAT(message_of({selector}), HasSubstr("selector \"" + std::string(selector) + "\": "))
        << selector;
  }
  EXPECT_THAT(message_of({"block1_conv1:random65"}), HasSubstr("random1 to random64"));
  EXPECT_THAT(message_of({"block1_conv1:random"}), HasSubstr("`random3`"));
}

}  // namespace
}  // namespace filterscope
