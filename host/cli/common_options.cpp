#include "common_options.h"

#include <fmt/format.h>

#include <fstream>

#include "../error.h"

namespace filterscope::cli {

Extent parse_size(const Arguments& options, const Network& network, int fallback) {
  const auto text = options.value("size");
  if (!text) return {fallback, fallback};
  const int size = static_cast<int>(parse_integer("--size", *text, network.smallest_image(), kLargestImage));
  return {size, size};
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
          "unexpected argument \"{0}\": `filterscope {1}` takes options only; `filterscope {1} --help` "
          "lists them",
          options.positional().front(), command));
}

void refuse_foreign_page(const std::filesystem::path& out, std::string_view remedy) {
  constexpr std::string_view kMark =
      "The page that `filterscope gallery` writes";  // tools/gallery/index.html
  std::error_code ignored;                           // What cannot be asked cannot be written either.
  for (const char* record : {"manifest.json", "journal.jsonl"})
    if (std::filesystem::exists(out / record, ignored)) return;
  std::ifstream page(out / "index.html", std::ios::binary);
  if (!page) return;
  std::string start(200, '\0');
  page.read(start.data(), static_cast<std::streamsize>(start.size()));
  if (start.find(kMark) != std::string::npos) return;
  throw Error(
      ErrorKind::usage,
      fmt::format("--out {}: expected a new folder or one of an earlier run, found an index.html that is "
                  "none of filterscope's, which would be replaced. Give another folder{}",
                  out.string(), remedy));
}

}  // namespace filterscope::cli
