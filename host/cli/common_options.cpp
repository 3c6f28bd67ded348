#include "common_options.h"

#include <fmt/format.h>

#include <fstream>

#include "../ascent/recipe.h"
#include "../base/error.h"

namespace filterscope::cli {

std::optional<int> parse_size(const Arguments& options, const Network& network) {
  const auto text = options.value("size");
  if (!text) return std::nullopt;
  return static_cast<int>(parse_integer("--size", *text, network.smallest_image(), kLargestImage));
}

std::optional<std::string> parse_weights(const Arguments& options) {
  auto weights = options.value("weights");
  if (weights) parse_path("--weights", "a file or synthetic[:SEED]", *weights);
  return weights;
}

void refuse_positional(std::string_view command, const Arguments& options) {
  if (options.positional().empty()) return;
  throw Error(
      ErrorKind::usage,
      fmt::format(
          "`filterscope {0}` takes options only, found the argument \"{1}\"; `filterscope {0} --help` lists "
          "them",
          command, options.positional().front()));
}

void refuse_foreign_files(const std::filesystem::path& out, std::span<const std::string_view> names,
                          std::string_view remedy) {
  // Text near the beginning of such a file if filterscope wrote it.
  const auto mark = [](std::string_view name) -> std::string_view {
    if (name == kPageFile) return "The page that `filterscope gallery` writes";  // tools/gallery/index.html
    if (name == kTracesFile) return kTracesHeader;
    return "";
  };
  std::error_code ignored;  // Writing to the folder would fail, too, and say why.
  for (const char* record : {kManifestFile, kJournalFile})
    if (std::filesystem::exists(out / record, ignored)) return;
  for (const std::string_view name : names) {
    std::ifstream file(out / name, std::ios::binary);
    if (!file || !std::filesystem::is_regular_file(out / name, ignored)) continue;
    std::string start(200, '\0');
    file.read(start.data(), static_cast<std::streamsize>(start.size()));
    if (!mark(name).empty() && start.find(mark(name)) != std::string::npos) continue;
    throw Error(
        ErrorKind::usage,
        fmt::format(
            "--out {}: expected a new folder or that of an earlier run, found {} but no {}: the file does "
            "not seem to be filterscope's, and would be replaced. Give another folder{}",
            out.string(), name, kManifestFile, remedy));
  }
}

}  // namespace filterscope::cli
