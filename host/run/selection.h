#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../model/network.h"

namespace filterscope {

/// The filters that the selectors name, ascending by layer and number, each once. A selector is `all`,
/// `LAYER` or `LAYER:LIST`; LAYER may contain `*`; LIST is like `0-63,157` or `random3` (three of each
/// matching layer, drawn with `seed`, independent of what else is selected). No selector means `all`. Throws
/// a usage Error that names the selector if it is malformed or names nothing that exists.
std::vector<FilterId> parse_selection(std::span<const std::string> selectors, const Network& network,
                                      std::uint64_t seed);

/// Selectors, separated by spaces, that name exactly `filters` (ascending, each once), in a short form such
/// as "block1_conv1 block2_conv1:0-7,9".
std::string selectors_of(std::span<const FilterId> filters, const Network& network);

}  // namespace filterscope
