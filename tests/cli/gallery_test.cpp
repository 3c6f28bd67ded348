// `filterscope gallery`, run as a process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/base/text.h"
#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
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

// The path that an address on a page leads to.
std::string decoded(const std::string& address) {
  std::string path;
  for (std::size_t i = 0; i < address.size(); ++i) {
    if (address[i] == '%') {
      path += static_cast<char>(std::stoi(address.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      path += address[i];
    }
  }
  return path;
}

nlohmann::json page_data(const std::string& page) {
  const std::string begin = "<script id=\"data\" type=\"application/json\">";
  const std::size_t from = page.find(begin) + begin.size();
  return nlohmann::json::parse(page.substr(from, page.find("</script>", from) - from));
}

// File systems store any bytes but '/' and 0; JSON, XML, addresses and shells do not.
TEST_F(Cli, NamesMayHoldAnyBytes) {
  std::string all;
  for (int byte = 1; byte < 256; ++byte)
    if (byte != '/') all += static_cast<char>(byte);
  std::string wide;
  while (wide.size() < 200) wide += "\xc3\xa9";
  const std::vector<std::string> names{
      "lat\xe9", all.substr(0, 130), all.substr(130) + " e\xcc\x81 \xf0\x9f\x8e\xa8 ",
      "c:foo",   "-x%41#?&\"<!--\\", wide};
  for (const std::string& name : names) {
    SCOPED_TRACE(percent_encoded(name));
    const std::string folder = "./" + name + "/";
    fs::create_directory(folder_ / folder);
    const std::string weights = folder + name + ".safetensors", start = folder + name + ".npy";
    const std::string first = folder + name, second = folder + "second", pages = folder + "pages " + name;
    write_first_layer(weights);
    write_npy(start, {32, 32, 3}, 0.25f);
    const auto render_filter = [&](const std::string& filter, const std::string& out) {
      return run({"render", filter, "--device", "cpu", "--iterations", "2", "--weights", weights, "--init",
                  start, "--out", out});
    };
    const Outcome one = render_filter("block1_conv1:1", first);
    ASSERT_EQ(one.exit_code, 0) << one.err;
    EXPECT_THAT(render_filter("block1_conv1:1", first).out, HasSubstr("Nothing to do"));
    ASSERT_EQ(render_filter("block1_conv1:2", first).exit_code, 0);
    ASSERT_EQ(render_filter("block1_conv1:1", second).exit_code, 0);
    ASSERT_EQ(run({"gallery", first, second, "--out", pages}).exit_code, 0);
    ASSERT_EQ(run({"merge", first, second, "--out", folder + "merged"}).exit_code, 0);

    // Each command appears once, unchanged.
    EXPECT_EQ(manifest(first)["command_lines"].size(), 2u);
    EXPECT_EQ(manifest(folder + "merged")["command_lines"].size(), 4u);
    const auto lines = manifest(first)["command_lines"].get<std::vector<std::string>>();
    for (const std::string& line : lines)
      EXPECT_THAT(shell_words(line), AllOf(Contains(weights), Contains(start), Contains(first)));
    for (const std::string& out : {first, folder + "merged"})
      for (const char* file : {"manifest.json", "index.html", "traces.csv", "block1_conv1/curves.svg"}) {
        const std::string text = read_text(folder_ / out / file);
        EXPECT_TRUE(is_utf8(text)) << file;
        EXPECT_TRUE(std::ranges::all_of(text, [](unsigned char c) { return c >= 0x20 || c == '\n'; }))
            << file;
      }
    const auto data = page_data(read_text(folder_ / pages / "index.html"));
    for (const auto& run : data["runs"]) {
      const auto address = run["folder"].get<std::string>();
      EXPECT_TRUE(std::ranges::all_of(address, [](unsigned char c) { return c > 0x20 && c < 0x7f; }));
      EXPECT_EQ(address.find_first_of(":?#&\"'<>\\"), std::string::npos) << address;
      EXPECT_TRUE(fs::exists(folder_ / pages / decoded(address) / "block1_conv1/block1_conv1_f0001.png"));
    }
  }
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

TEST_F(Cli, GalleryReportsWhatIsWrong) {
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
  EXPECT_THAT(error_of({"gallery"}, kInput), HasSubstr("it is not valid JSON"));
}

}  // namespace
}  // namespace filterscope
