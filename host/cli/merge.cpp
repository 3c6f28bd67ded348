#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../base/error.h"
#include "../gallery/gallery.h"
#include "../model/network.h"
#include "../run/selection.h"
#include "../store/manifest.h"
#include "../store/run_writer.h"
#include "../store/settings.h"
#include "../store/stored_run.h"
#include "commands.h"
#include "common_options.h"
#include "interrupt.h"
#include "options.h"
#include "render_request.h"
#include "shard.h"
#include "text.h"

namespace filterscope::cli {

namespace {

namespace fs = std::filesystem;

constexpr const char* kAbout =
    R"(Joins the results of several folders in one: the shares of `filterscope render --shard`, or any runs with the same
settings. Folders whose settings differ are refused. If two hold the same filter, the first one's result is taken.

Usage: filterscope merge DIR... [OPTION...]

)";

constexpr const char* kOutputHelp = R"(Output, in the folder of --out
  The files that one run of `filterscope render` with all the filters would write. DIR... are not changed.
  Selected filters that none of them holds are reported, and "missing" in manifest.json. Files that are missing or
  damaged are named and left out.
)";

constexpr const char* kExamples = R"(Examples
  filterscope merge sampler/shard-* --out sampler
)";

const OptionTable& merge_options() {
  static const OptionTable table(
      "filterscope merge",
      {{"Output", "out", "DIR", fmt::format("Folder of the results (default: {})", kDefaultOut)},
       {"Output", "force", "",
        "Ignore results that are already in that folder (files that are not replaced stay); without it, the "
        "merge adds to results with the same settings"},
       {"Output", "quiet", "", "Print nothing but errors"}});
  return table;
}

StoredRun read(const std::string& folder, const Network& network) {
  std::optional<StoredRun> run = read_run(folder, network);
  if (!run) throw_no_run(folder);
  // The folder may still be being copied; filters merged without their losses would never get them.
  if (run->traces_lost) {
    throw Error(
        ErrorKind::input,
        fmt::format(
            "{}: expected traces.csv next to manifest.json, found none: copy the whole folder. If the "
            "losses are lost for good, run the command that rendered it again, which continues without them",
            folder));
  }
  return std::move(*run);
}

void require_same_settings(const StoredRun& first, const StoredRun& other) {
  std::vector<std::string> texts;
  for (const SettingDifference& difference : differing_settings(first.manifest, other.manifest)) {
    texts.push_back(fmt::format("{}: {} in the first, {} in the second", difference.name, difference.first,
                                difference.second));
  }
  if (texts.empty()) return;
  throw Error(ErrorKind::usage,
              fmt::format("{} and {} do not belong together: their settings differ ({})",
                          first.folder.string(), other.folder.string(), fmt::join(texts, "; ")));
}

/// The origin of a filter's result.
struct Source {
  const StoredRun* run;
  std::size_t row;
  double share;  ///< Its part of the run's time.
};

const EngineDescription& engine_of(const Source& source) {
  const Manifest& manifest = source.run->manifest;
  return manifest.engines[manifest.filters[source.row].engine];
}

std::optional<Shard> shard_of(const fs::path& folder) {
  return shard_of_folder((folder / "").parent_path().filename().string());
}

/// The folders of the shares that are missing among the folders that `commands` merged, judging by the names
/// of those. None if there is a complete set.
std::vector<std::string> absent_shares(const std::vector<std::string>& commands) {
  std::map<int, std::set<int>> given;  // Indices by number of shares.
  for (const std::string& command : commands) {
    const std::vector<std::string> words = shell_words(command);
    if (words.size() < 2 || words[1] != "merge") continue;
    for (std::size_t i = 2; i < words.size(); ++i) {
      if (words[i].starts_with("--out=") || words[i - 1] == "--out") continue;
      if (const auto shard = shard_of(words[i])) given[shard->count].insert(shard->index);
    }
  }
  std::vector<std::string> absent;
  for (const auto& [count, indices] : given) {
    if (std::ssize(indices) == count) return {};
    for (int index = 1; index <= count; ++index)
      if (!indices.contains(index)) absent.push_back(shard_folder({index, count}));
  }
  return absent;
}

/// The selectors of the last command started in a share's folder; they cover all shares.
std::optional<std::vector<std::string>> selectors_of_all(const Manifest& share) {
  std::optional<std::vector<std::string>> selectors;
  for (const std::string& command : share.command_lines) {
    std::vector<std::string> words = shell_words(command);
    if (words.size() < 2 || words[1] != "render") continue;
    words.erase(words.begin(), words.begin() + 2);
    try {
      selectors = render_options().parse(words).positional();
    } catch (const Error&) {  // Another version's options: the selection is unknown.
      return std::nullopt;
    }
  }
  return selectors;
}

/// The filters selected for all shares together, if `runs` hold a complete set. The selections of the shares
/// need not add up to that, since versions may cut shares differently.
std::vector<FilterId> selection_of_whole_set(const std::vector<StoredRun>& runs) {
  std::map<int, std::map<int, const Manifest*>> sets;  // By number of shares and index.
  for (const StoredRun& run : runs)
    if (const auto shard = shard_of(run.folder)) sets[shard->count][shard->index] = &run.manifest;
  for (const auto& [count, shares] : sets) {
    if (std::ssize(shares) != count) continue;
    const Manifest& first = *shares.begin()->second;
    const auto selectors = selectors_of_all(first);
    if (!selectors || std::ranges::any_of(shares, [&](const auto& share) {
          return selectors_of_all(*share.second) != selectors;
        }))
      continue;
    try {
      return parse_selection(*selectors, first.network, first.seed);
    } catch (const Error&) {
    }
  }
  return {};
}

/// The contents of several runs together.
struct Gathered {
  std::set<FilterId> selected;
  std::map<FilterId, Source> sources;
  bool any_images = false;
  int frame_every = 0;  ///< Taken from the first animations; 0: there are none.
};

Gathered gather(const std::vector<StoredRun>& runs) {
  Gathered gathered;
  for (const StoredRun& run : runs) {
    const std::vector<FilterRecord>& filters = run.manifest.filters;
    const auto finished =
        std::ranges::count_if(filters, [](const FilterRecord& record) { return record.status.has_value(); });
    for (std::size_t row = 0; row < filters.size(); ++row) {
      const FilterRecord& record = filters[row];
      gathered.selected.insert(record.id);
      if (record.status)
        gathered.sources.try_emplace(record.id, Source{&run, row, 1 / static_cast<double>(finished)});
    }
    gathered.any_images = gathered.any_images || !run.images.empty();
    if (gathered.frame_every == 0 && !run.animations.empty())
      gathered.frame_every = run.animations.begin()->second;
  }
  for (const FilterId id : selection_of_whole_set(runs)) gathered.selected.insert(id);
  return gathered;
}

/// The manifest before any result is added.
Manifest merged_manifest(const std::vector<StoredRun>& runs, const Gathered& gathered,
                         const std::vector<std::string>& arguments) {
  Manifest merged = runs.front().manifest;
  for (const StoredRun& run : runs) {
    merged.started = std::min(merged.started, run.manifest.started);
    for (const std::string& line : run.manifest.command_lines) add_command_line(merged, line);
  }
  std::vector<std::string> command{"filterscope", "merge"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  add_command_line(merged, shell_quoted(command));
  merged.wall_seconds = 0;
  merged.phases = {};
  merged.filters.clear();
  merged.raw.clear();
  if (!gathered.sources.empty()) merged.engines = {engine_of(gathered.sources.begin()->second)};
  return merged;
}

void add_results(RunWriter& writer, const std::map<FilterId, Source>& sources, const Interrupt& interrupt) {
  double seconds = 0;
  PhaseSeconds phases;
  try {
    for (const FilterId id : writer.remaining()) {
      if (interrupt.requested()) break;
      const auto source = sources.find(id);
      if (source == sources.end()) continue;
      writer.add(read_result(*source->second.run, source->second.row), engine_of(source->second));
      const Manifest& manifest = source->second.run->manifest;
      seconds += manifest.wall_seconds * source->second.share;
      phases += manifest.phases * source->second.share;
    }
  } catch (...) {
    // As in render: keep what has been added, and report the first failure.
    try {
      writer.finish(seconds, phases);
    } catch (const Error&) {
    }
    throw;
  }
  writer.finish(seconds, phases);
}

/// Names the files that the folders should hold but do not.
void print_damaged(const std::vector<StoredRun>& runs) {
  constexpr std::size_t kNamed = 8;
  for (const StoredRun& run : runs) {
    if (run.damaged.empty()) continue;
    const std::size_t named = std::min(run.damaged.size(), kNamed);
    tell(
        "Note: of {}, {} {} missing or damaged, and left out: {}{}. Run the command that rendered it again, "
        "which renders what is missing; then merge again.\n",
        run.folder.string(), counted(std::ssize(run.damaged), "file"), run.damaged.size() == 1 ? "is" : "are",
        fmt::join(run.damaged.begin(), run.damaged.begin() + static_cast<std::ptrdiff_t>(named), ", "),
        run.damaged.size() > named ? ", ..." : "");
  }
}

void print_merged(const RunWriter& writer, std::size_t selected, std::size_t folders, const fs::path& out) {
  const auto missing = writer.counts().missing;
  const Manifest& whole = writer.manifest();
  const auto taken = static_cast<std::ptrdiff_t>(selected) - missing;
  const auto in_all = std::ranges::count_if(
      whole.filters, [](const FilterRecord& record) { return record.status.has_value(); });
  fmt::print("{} of {} {} in {}{}\n", counted(taken, "filter"),
             counted(static_cast<std::int64_t>(folders), "folder"), taken == 1 ? "is" : "are",
             (out / "").string(), in_all > taken ? fmt::format(", {} in all", with_thousands(in_all)) : "");
  if (missing > 0) {
    tell(
        "Note: {} selected, but no folder holds {} undamaged; manifest.json says which. Render {} and merge "
        "again.\n",
        missing == 1 ? "1 filter was" : fmt::format("{} were", counted(missing, "filter")),
        missing == 1 ? "it" : "them", missing == 1 ? "it" : "them");
  }
  if (const auto absent = absent_shares(whole.command_lines); !absent.empty()) {
    constexpr std::size_t kNamed = 8;
    const std::size_t named = std::min(absent.size(), kNamed);
    tell("Note: {} not among the folders: {}{}. Merge again when {} there, too.\n",
         absent.size() == 1 ? "1 share is" : fmt::format("{} are", counted(std::ssize(absent), "share")),
         fmt::join(absent.begin(), absent.begin() + static_cast<std::ptrdiff_t>(named), ", "),
         absent.size() > named ? ", ..." : "", absent.size() == 1 ? "it is" : "they are");
  }
}

}  // namespace

int run_merge(const std::vector<std::string>& arguments) {
  const Arguments options = merge_options().parse(arguments);
  if (options.has("help")) {
    fmt::print("{}{}\n{}\n{}\n{}", kAbout, merge_options().help(), kOutputHelp, kExamples, exit_codes_help());
    return 0;
  }
  const std::vector<std::string>& folders = options.positional();
  if (folders.empty()) {
    throw Error(ErrorKind::usage,
                "expected the folders to merge, found none; see `filterscope merge --help`");
  }
  for (const std::string& folder : folders) parse_path("DIR", "a folder", folder);
  const fs::path out = parse_path("--out", "a folder", options.value("out").value_or(kDefaultOut));
  const bool quiet = options.has("quiet");
  if (!options.has("force")) refuse_foreign_files(out, kRunFiles, ", or --force");

  const Network& network = vgg16();
  std::vector<StoredRun> runs;
  for (const std::string& folder : folders) runs.push_back(read(folder, network));
  for (const StoredRun& run : runs) require_same_settings(runs.front(), run);

  const Gathered gathered = gather(runs);
  const Interrupt interrupt(quiet ? "" : "Stopping, and keeping what has been merged\n");
  RunWriter writer(out, merged_manifest(runs, gathered, arguments),
                   {gathered.selected.begin(), gathered.selected.end()},
                   {.keep_images = gathered.any_images,
                    .frame_every = gathered.frame_every,
                    .force = options.has("force")});
  if (writer.traces_lost() && !quiet) tell("{}", lost_traces_note(out));
  add_results(writer, gathered.sources, interrupt);
  write_gallery(out);
  if (interrupt.requested() && writer.counts().missing > 0) {
    if (!quiet) {
      tell("Interrupted: {} of {} are in {}; the same command merges the rest\n",
           with_thousands(std::ssize(gathered.selected) - writer.counts().missing),
           counted(std::ssize(gathered.selected), "filter"), (out / "").string());
    }
    return kInterrupted;
  }
  if (!quiet) print_damaged(runs);
  if (!quiet) print_merged(writer, gathered.selected.size(), folders.size(), out);
  return 0;
}

}  // namespace filterscope::cli
