#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../model/network.h"

namespace filterscope {

/// The filters that the selectors name, ascending by layer and number, each once. A selector is `all`,
/// `LAYER` or `LAYER:LIST`; LAYER may hold `*`; LIST is like `0-63,157` or `random3` (three of each matching
/// layer, drawn by `seed`, independent of what else is selected). No selector means `all`. What cannot be
/// read or does not exist is a usage Error naming the selector.
std::vector<FilterId> parse_selection(std::span<const std::string> selectors, const Network& network,
                                      std::uint64_t seed);

/// Selectors, separated by spaces, that name exactly `filters` (ascending, each once), in short:
/// "block1_conv1 block2_conv1:0-7,9".
std::string selectors_of(std::span<const FilterId> filters, const Network& network);

}  // namespace filterscope
