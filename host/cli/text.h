#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "../base/text.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "../run/selection.h"

namespace filterscope::cli {

/// Flushes stdout. Returns the errno of the first failure to write to it, or 0.
int finish_output();

/// Writes to stderr. A failure (its reader is gone, as `tee` is after Ctrl-C) is ignored, since it is no
/// reason to lose results; fmt::print() would throw.
template <class... Arguments>
void tell(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  std::fputs(fmt::format(text, std::forward<Arguments>(arguments)...).c_str(), stderr);
}

/// Writes to stdout and flushes. A failure must not end a run either; finish_output() reports it.
template <class... Arguments>
void say(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  std::fputs(fmt::format(text, std::forward<Arguments>(arguments)...).c_str(), stdout);
  finish_output();
}

/// A readable duration: "0.8 s", "12 s", "3 min 20 s", "2 h 05 min", "3 days 4 h".
std::string duration_text(double seconds);
/// A readable rate with three digits: "0.0123", "7.25", "1,140".
std::string rate_text(double rate);
/// "vgg16_weights.h5", or "synthetic:0 (never trained)".
std::string weights_text(const Weights& weights);
/// Filters as selectors, "block1_conv1:3,17 block5_conv3:0": at most `limit` of them, then how many more
/// there are.
std::string filters_text(std::span<const FilterId> filters, const Network& network, std::size_t limit);

/// The number of layers that can be rendered with `weights`, which hold them and all layers before them.
int renderable_layers(const Network& network, const Weights& weights);
/// The selectors that name exactly the first `layers` layers: complete blocks as "block1_*", others by name.
std::string selectors_text(const Network& network, int layers);

/// The notice that the run in `folder` has lost all losses but the first and the last.
std::string lost_traces_note(const std::filesystem::path& folder);

/// The meaning of the exit codes, for the help.
std::string_view exit_codes_help();

}  // namespace filterscope::cli
