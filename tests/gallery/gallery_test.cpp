#include "host/gallery/gallery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "gallery_fixture.h"

namespace filterscope {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class GalleryTest : public GalleryFixture {};

TEST_F(GalleryTest, WritesTheSameFilesTwice) {
  render({{0, 0}, {7, 3}});
  const std::vector<std::string> before = files_below(out_);
  write_gallery(out_);
  std::vector<std::string> expected = before;
  for (const char* file : {"index.html", "poster.png", "block1_conv1/curves.svg", "block4_conv1/curves.svg",
                           "gallery/block1_conv1_0.jpg", "gallery/block4_conv1_0.jpg"})
    expected.emplace_back(file);
  std::ranges::sort(expected);
  EXPECT_EQ(files_below(out_), expected);
  for (const std::string& file : before) EXPECT_NE(file, "index.html");
  write_gallery(out_);
  EXPECT_EQ(files_below(out_), expected);
}

TEST_F(GalleryTest, ComparesTwoRunsByRelativePaths) {
  render({{0, 0}, {0, 1}});
  std::filesystem::rename(out_, folder_ / "first");
  options_.seed = 7;
  render({{0, 1}, {3, 2}});
  const std::filesystem::path page = folder_ / "pages" / "both";
  EXPECT_EQ(write_comparison(folder_ / "first", out_, page).filters, 4);
  const json data = page_data(page);
  ASSERT_THAT(data["runs"], SizeIs(2));
  EXPECT_EQ(data["runs"][0]["folder"], "../../first/");
  EXPECT_EQ(data["runs"][1]["folder"], "../../a%20run%2C%20100%20%25%20%231/");
  EXPECT_EQ(data["runs"][1]["name"], "a run, 100 % #1");
  EXPECT_EQ(data["runs"][1]["seed"], "7");
  for (const json& run : data["runs"])
    for (const json& layer : run["layers"])
      for (const std::string file : layer["atlases"])
        EXPECT_TRUE(std::filesystem::exists(page / file)) << file;
  EXPECT_THAT(files_below(page), SizeIs(4));  // index.html and three atlases.
  // A page in the folder of one of the runs.
  write_comparison(folder_ / "first", out_, out_);
  EXPECT_EQ(page_data(out_)["runs"][1]["folder"], "./");
  EXPECT_EQ(page_data(out_)["runs"][1]["name"], "a run, 100 % #1");
}

TEST_F(GalleryTest, NamesTheFileThatCannotBeRead) {
  EXPECT_THAT(error_of(ErrorKind::input, [&] { write_gallery(folder_ / "nowhere"); }),
              HasSubstr("nowhere: expected a folder that `filterscope render` wrote, found nothing of"));
  render({{0, 0}});
  const std::string manifest = read_text(out_ / "manifest.json");
  const std::string old_page = "of the last time";
  write_text(out_ / "index.html", old_page);
  for (const std::string& damaged :
       {std::string(), std::string("no JSON"), manifest.substr(0, manifest.size() / 2), std::string("{}"),
        std::regex_replace(manifest, std::regex("\"vgg16\""), "\"alexnet\""),
        std::regex_replace(manifest, std::regex("block1_conv1\""), "block9_conv1\""),
        std::regex_replace(manifest, std::regex("\"status\": \"ok\""), "\"status\": \"fine\"")}) {
    write_text(out_ / "manifest.json", damaged);
    EXPECT_THAT(error_of(ErrorKind::input, [&] { write_gallery(out_); }), HasSubstr("manifest.json"));
  }
  write_text(out_ / "manifest.json", manifest);
  write_text(out_ / "traces.csv", "layer,filter,iteration,loss\nblock1_conv1,0,x,1\n");
  EXPECT_THAT(error_of(ErrorKind::input, [&] { write_gallery(out_); }), HasSubstr("traces.csv"));
  EXPECT_EQ(read_text(out_ / "index.html"), old_page);
}

TEST_F(GalleryTest, KeepsTheOldPageIfTheNewOneCannotBeWritten) {
  render({{0, 0}});
  write_gallery(out_);
  const std::string page = read_text(out_ / "index.html");
  const std::vector<std::string> files = files_below(out_);
  {
    const FullDisk full(20000);  // More than the atlas takes, less than the page.
    EXPECT_THAT(error_of(ErrorKind::output, [&] { write_gallery(out_); }), HasSubstr("`ulimit -f`"));
  }
  EXPECT_EQ(read_text(out_ / "index.html"), page);
  EXPECT_EQ(files_below(out_), files);

  std::filesystem::remove_all(out_ / "gallery");
  write_text(out_ / "gallery", "in the way");
  EXPECT_THAT(error_of(ErrorKind::output, [&] { write_gallery(out_); }), HasSubstr("gallery"));
}

}  // namespace
}  // namespace filterscope
