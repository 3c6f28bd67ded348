#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../network.h"
#include "../selection.h"
#include "../text.h"
#include "../weights.h"

namespace filterscope::cli {

/// Seconds for a reader: "0.8 s", "12 s", "3 min 20 s", "2 h 05 min", "3 days 4 h".
std::string duration_text(double seconds);
/// A rate for a reader: three digits, as "0.0123", "7.25", "1,140".
std::string rate_text(double rate);
/// "vgg16_weights.h5", or "synthetic:0 (a stand-in, not trained)".
std::string weights_text(const Weights& weights);
/// Filters for a reader, as selectors: "block1_conv1:3,17 block5_conv3:0", at most `limit` of them, then how
/// many more.
std::string filters_text(std::span<const FilterId> filters, const Network& network, std::size_t limit);
/// The arguments of a line that shell_quoted() made.
std::vector<std::string> shell_words(std::string_view line);

/// The layers that can be rendered with `weights`: those that have all layers before them and themselves.
int renderable_layers(const Network& network, const Weights& weights);
/// The selectors that name exactly the first `layers` layers: whole blocks as "block1_*", others by name.
std::string selectors_text(const Network& network, int layers);

/// That of the run in `folder` the losses between the first and the last are gone: a line.
std::string lost_traces_note(const std::filesystem::path& folder);

/// What the exit codes mean, for the help.
std::string_view exit_codes_help();

}  // namespace filterscope::cli
