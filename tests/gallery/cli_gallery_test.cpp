// filterscope gallery, run as a process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(Cli, RenderEndsWithThePage) {
  const Outcome outcome = render({"block1_conv1:0-1", "--out", "run"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("run/index.html"));
  for (const char* file : {"run/index.html", "run/poster.png", "run/block1_conv1/curves.svg", "run/gallery"})
    EXPECT_TRUE(exists(file)) << file;
}

TEST_F(Cli, GalleryRebuildsThePage) {
  ASSERT_EQ(render({"block1_conv1:0-1"}).exit_code, 0);
  fs::remove(folder_ / "filterscope-out/index.html");
  const Outcome outcome = run({"gallery"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "filterscope-out/index.html\n");
  EXPECT_EQ(outcome.err, "");
  EXPECT_TRUE(exists("filterscope-out/index.html"));

  fs::remove(folder_ / "filterscope-out/block1_conv1/block1_conv1_f0001.png");
  EXPECT_THAT(run({"gallery", "filterscope-out"}).err,
              HasSubstr("1 picture of 2 filters missing or damaged"));
  const Outcome quiet = run({"gallery", "filterscope-out", "--quiet"});
  EXPECT_EQ(quiet.out + quiet.err, "");
}

TEST_F(Cli, GalleryComparesTwoRuns) {
  ASSERT_EQ(render({"block1_conv1:0-1", "--out", "a"}).exit_code, 0);
  ASSERT_EQ(render({"block1_conv1:0-1", "--out", "b", "--seed", "1"}).exit_code, 0);
  EXPECT_EQ(run({"gallery", "a", "b"}).out, "filterscope-comparison/index.html\n");
  EXPECT_EQ(run({"gallery", "a", "b", "--out", "seeds/0 and 1"}).out, "seeds/0 and 1/index.html\n");
  EXPECT_TRUE(exists("seeds/0 and 1/gallery/b"));
}

TEST_F(Cli, AComparisonDoesNotReplaceTheRunsOwnPages) {
  for (const char* run : {"one", "two"}) ASSERT_EQ(render({"block1_conv1:0", "--out", run}).exit_code, 0);
  const std::string page = read_text(folder_ / "two/index.html");
  for (const char* out : {"one", "two", "./two/"}) {
    EXPECT_THAT(error_of({"gallery", "one", "two", "--out", out}, 2),
                AllOf(HasSubstr("--out"), HasSubstr("a folder without a run")));
  }
  EXPECT_EQ(read_text(folder_ / "two/index.html"), page);
}

TEST_F(Cli, GalleryTellsWhatIsWrong) {
  EXPECT_THAT(error_of({"gallery", "a", "b", "c"}, kUsage), HasSubstr("found 3"));
  EXPECT_THAT(error_of({"gallery", "a", "--out", "b"}, kUsage), HasSubstr("--out"));
  EXPECT_THAT(error_of({"gallery", "--seed", "1"}, kUsage), HasSubstr("--seed"));
  EXPECT_THAT(error_of({"gallery", ""}, kUsage), HasSubstr("found nothing"));
  EXPECT_THAT(error_of({"gallery", "nowhere"}, kInput),
              HasSubstr("nowhere: expected a folder that `filterscope render` wrote, found nothing of"));
  ASSERT_EQ(render({"block1_conv1:0"}).exit_code, 0);
  EXPECT_THAT(error_of({"gallery", "filterscope-out", "nowhere"}, kInput),
              HasSubstr("nowhere: expected a folder that `filterscope render` wrote, found nothing of"));
  std::ofstream(folder_ / "file") << "in the way";
  EXPECT_THAT(error_of({"gallery", "filterscope-out", "filterscope-out", "--out", "file"}, kOutput),
              AllOf(HasSubstr("file"), HasSubstr("--out")));
  std::ofstream(folder_ / "filterscope-out/manifest.json") << "{";
  EXPECT_THAT(error_of({"gallery"}, kInput), HasSubstr("it is no JSON"));
}

}  // namespace
}  // namespace filterscope
