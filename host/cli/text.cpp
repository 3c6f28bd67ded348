#include "text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <vector>

#include "../store/file_names.h"

namespace filterscope::cli {

int finish_output() {
  static int first = 0;
  errno = 0;
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (failed && first == 0) first = errno != 0 ? errno : EIO;
  return first;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "unknown time";
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  if (whole < 48 * 3600) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{} days {} h", whole / 86400, whole % 86400 / 3600);
}

std::string rate_text(double rate) {
  return rate < 999.5 ? fmt::format("{:.3g}", rate) : with_thousands(std::llround(rate));
}

std::string weights_text(const Weights& weights) {
  return weights.synthetic() ? weights.name + " (never trained)" : weights.path.string();
}

std::string filters_text(std::span<const FilterId> filters, const Network& network, std::size_t limit) {
  const std::size_t shown = std::min(filters.size(), limit);
  std::string text;
  for (std::size_t i = 0; i < shown; ++i) {
    if (i > 0 && filters[i].layer == filters[i - 1].layer) {
      text += fmt::format(",{}", filters[i].filter);
    } else {
      text += fmt::format("{}{}:{}", i > 0 ? " " : "", network.convolutions[filters[i].layer].name,
                          filters[i].filter);
    }
  }
  if (shown < filters.size()) text += fmt::format(" and {} more", filters.size() - shown);
  return text;
}

int renderable_layers(const Network& network, const Weights& weights) {
  int layers = 0;
  while (layers < network.layer_count() && weights.holds(layers)) ++layers;
  return layers;
}

std::string selectors_text(const Network& network, int layers) {
  const auto block_of = [&](int layer) {
    const std::string& name = network.convolutions[layer].name;
    return name.substr(0, name.find('_'));
  };
  std::vector<std::string> selectors;
  for (int first = 0; first < layers;) {
    int end = first;
    while (end < network.layer_count() && block_of(end) == block_of(first)) ++end;
    if (end <= layers) {
      selectors.push_back(fmt::format("'{}_*'", block_of(first)));
    } else {
      for (int layer = first; layer < layers; ++layer) selectors.push_back(network.convolutions[layer].name);
    }
    first = end;
  }
  return fmt::format("{}", fmt::join(selectors, " "));
}

std::string lost_traces_note(const std::filesystem::path& folder) {
  return fmt::format(
      "Note: {} is missing; only the first and the last loss are left of the filters finished before\n",
      (folder / kTracesFile).string());
}

std::string_view exit_codes_help() {
  return R"(Exit codes
  0    done
  1    an error of the program itself
  2    usage: an invalid option or selector, or settings other than those of the results in --out
  3    weights or another input file: missing, damaged, of another network
  4    device: missing or failed, or out of memory, threads or processes
  5    output: a result could not be written
  130  interrupted (Ctrl-C, SIGTERM, a closed terminal, the limit of CPU time); finished filters are kept, and the
       same command resumes
  141  SIGPIPE: the reader of the printed output went away; the results are complete
)";
}

}  // namespace filterscope::cli
