#include "common_options.h"

#include <fmt/format.h>

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

}  // namespace filterscope::cli
