#include "../gallery/gallery.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "../base/error.h"
#include "commands.h"
#include "common_options.h"
#include "options.h"
#include "text.h"

namespace filterscope::cli {

namespace {

constexpr const char* kDefaultComparison = "filterscope-comparison";

constexpr const char* kAbout =
    R"(Writes a page to look through a run's pictures, from what is in its folder: index.html.
With two folders, a page that shows two runs side by side: recipes, seeds, precisions.

Usage: filterscope gallery [DIR [DIR]] [OPTION...]

)";

constexpr const char* kOutputHelp = R"(Files
  index.html           in DIR: the page. It works from the file, without a server or a network.
  gallery/             beside it: small versions of the pictures
  LAYER/curves.svg     the losses of a layer's filters (not with two folders)
  poster.png           all filters of the network, a strip for each layer (not with two folders)
  `filterscope render` ends with writing them, too.
)";

constexpr const char* kExamples = R"(Examples
  filterscope gallery filterscope-out
  filterscope gallery seed0 seed1 --out seeds
)";

const OptionTable& gallery_options() {
  static const OptionTable table(
      "filterscope gallery",
      {{"Output", "out", "DIR",
        fmt::format("With two folders: where the page goes (default: {})", kDefaultComparison)},
       {"Output", "quiet", "", "Print nothing but errors"}});
  return table;
}

}  // namespace

int run_gallery(const std::vector<std::string>& arguments) {
  const Arguments options = gallery_options().parse(arguments);
  if (options.has("help")) {
    fmt::print("{}{}\n{}\n{}\n{}", kAbout, gallery_options().help(), kOutputHelp, kExamples,
               exit_codes_help());
    return 0;
  }
  const std::vector<std::string>& folders = options.positional();
  if (folders.size() > 2) {
    throw Error(ErrorKind::usage,
                fmt::format("expected one folder, or two to compare, found {}; `filterscope "
                            "gallery --help` tells more",
                            folders.size()));
  }
  for (const std::string& folder : folders) parse_path("DIR", "a folder", folder);
  const bool comparison = folders.size() == 2;
  if (options.has("out") && !comparison) {
    throw Error(ErrorKind::usage,
                "--out: expected two folders to compare; the page of one run goes into the run's folder");
  }

  const std::filesystem::path first = folders.empty() ? kDefaultOut : folders.front();
  const std::filesystem::path out =
      comparison ? std::filesystem::path(
                       parse_path("--out", "a folder", options.value("out").value_or(kDefaultComparison)))
                 : first;
  std::error_code ignored;  // What cannot be asked cannot be written either.
  if (comparison && std::filesystem::exists(out / "manifest.json", ignored)) {
    throw Error(ErrorKind::usage,
                fmt::format("--out {}: expected a folder without a run, whose own page is there; "
                            "found a manifest.json",
                            out.string()));
  }
  if (comparison) refuse_foreign_files(out, kComparisonFiles, "");
  const GalleryCounts counts =
      comparison ? write_comparison(first, folders.back(), out) : write_gallery(first);
  if (!options.has("quiet")) {
    if (counts.missing_pictures > 0) {
      tell("Note: {} of {} missing or damaged; the page shows where\n",
           counted(counts.missing_pictures, "picture"), counted(counts.filters, "filter"));
    }
    for (const std::filesystem::path& folder : counts.without_traces) tell("{}", lost_traces_note(folder));
    fmt::print("{}\n", (out / "index.html").string());
  }
  return 0;
}

}  // namespace filterscope::cli
