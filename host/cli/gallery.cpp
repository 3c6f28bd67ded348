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
    R"(Writes index.html, a page to browse the pictures of a run, from the files in its folder. Given two folders, the page
compares two runs side by side, for example two seeds, recipes or precisions.

Usage: filterscope gallery [DIR [DIR]] [OPTION...]

)";

constexpr const char* kOutputHelp = R"(Files, in DIR or, for two folders, in that of --out
  index.html           the page; it needs neither a server nor a network
  gallery/             small versions of the pictures, for the page
  LAYER/curves.svg     a layer's loss curves (not for two folders)
  poster.png           all pictures, one strip per layer (not for two folders)
  `filterscope render` and `filterscope merge` also write them.
)";

constexpr const char* kExamples = R"(Examples
  filterscope gallery filterscope-out
  filterscope gallery seed0 seed1 --out seeds
)";

const OptionTable& gallery_options() {
  static const OptionTable table(
      "filterscope gallery",
      {{"Output", "out", "DIR",
        fmt::format("Folder of the page that compares two runs (default: {})", kDefaultComparison)},
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
                fmt::format("expected one folder, or two to compare, found {}; see `filterscope gallery "
                            "--help`",
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
  std::error_code ignored;  // Writing to the folder would fail, too, and say why.
  if (comparison && std::filesystem::exists(out / "manifest.json", ignored)) {
    throw Error(ErrorKind::usage,
                fmt::format("--out {}: expected a folder without a run, whose own page would be replaced; "
                            "found a manifest.json",
                            out.string()));
  }
  if (comparison) refuse_foreign_files(out, kComparisonFiles, "");
  const GalleryCounts counts =
      comparison ? write_comparison(first, folders.back(), out) : write_gallery(first);
  if (!options.has("quiet")) {
    if (counts.missing_pictures > 0) {
      tell("Note: {} of {} missing or damaged; the page shows which\n",
           counted(counts.missing_pictures, "picture"), counted(counts.filters, "filter"));
    }
    for (const std::filesystem::path& folder : counts.without_traces) tell("{}", lost_traces_note(folder));
    fmt::print("{}\n", (out / "index.html").string());
  }
  return 0;
}

}  // namespace filterscope::cli
