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

/// Writes what is left of stdout; gives the errno of the first failure to write there, or 0.
int finish_output();

/// Writes to stderr. That it cannot be written (its reader is gone, as `tee` is after Ctrl-C) is no reason to
/// lose results, so that is ignored; fmt::print() would throw.
template <class... Arguments>
void tell(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  std::fputs(fmt::format(text, std::forward<Arguments>(arguments)...).c_str(), stderr);
}

/// Writes to stdout, at once. That it cannot be written must not end a run either; finish_output() tells of
/// it.
template <class... Arguments>
void say(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  std::fputs(fmt::format(text, std::forward<Arguments>(arguments)...).c_str(), stdout);
  finish_output();
}

/// Seconds for a reader: "0.8 s", "12 s", "3 min 20 s", "2 h 05 min", "3 days 4 h".
std::string duration_text(double seconds);
/// A rate for a reader: three digits, as "0.0123", "7.25", "1,140".
std::string rate_text(double rate);
/// "vgg16_weights.h5", or "synthetic:0 (a stand-in, not trained)".
std::string weights_text(const Weights& weights);
/// Filters for a reader, as selectors: "block1_conv1:3,17 block5_conv3:0", at most `limit` of them, then how
/// many more.
std::string filters_text(std::span<const FilterId> filters, const Network& network, std::size_t limit);

/// The layers that can be rendered with `weights`: those that have all layers before them and themselves.
int renderable_layers(const Network& network, const Weights& weights);
/// The selectors that name exactly the first `layers` layers: whole blocks as "block1_*", others by name.
std::string selectors_text(const Network& network, int layers);

/// A line for the user: the run in `folder` has lost all losses but the first and the last.
std::string lost_traces_note(const std::filesystem::path& folder);

/// What the exit codes mean, for the help.
std::string_view exit_codes_help();

}  // namespace filterscope::cli
