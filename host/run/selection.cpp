#include "selection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "../base/error.h"
#include "../base/nearest_name.h"
#include "kernels/common/philox.h"

namespace filterscope {

namespace {

constexpr std::string_view kRandomPrefix = "random";

// `*` matches any run of characters, also an empty one; everything else matches itself.
bool matches_glob(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern.front() != '*') {
    return !text.empty() && text.front() == pattern.front() &&
           matches_glob(pattern.substr(1), text.substr(1));
  }
  const std::string_view rest = pattern.substr(1);
  if (rest.empty()) return true;
  if (rest.front() == '*') return matches_glob(rest, text);
  for (std::size_t skipped = 0; skipped <= text.size(); ++skipped) {
    if (matches_glob(rest, text.substr(skipped))) return true;
  }
  return false;
}

[[noreturn]] void fail(std::string_view selector, const std::string& message) {
  throw Error(ErrorKind::usage, fmt::format("selector \"{}\": {}", selector, message));
}

// Digits only. A number too large for int becomes the largest int, which no layer has.
std::optional<int> parse_number(std::string_view text) {
  if (text.empty() || !std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  int value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc{} ? value : std::numeric_limits<int>::max();
}

// The probable intention of `pattern`: a block's layers, the paper's name of a layer, or a name with a typing
// error.
std::optional<std::string> likely_pattern(std::string_view pattern, const std::vector<std::string>& names) {
  if (pattern.find('*') != std::string_view::npos) return std::nullopt;
  const auto is_name = [&](const std::string& name) { return std::ranges::find(names, name) != names.end(); };
  if (const std::string block = fmt::format("{}_", pattern);
      std::ranges::any_of(names, [&](const std::string& name) { return name.starts_with(block); }))
    return block + "*";
  // conv3_2 is block3_conv2 here, as in Keras.
  if (const std::size_t split = pattern.find('_');
      pattern.starts_with("conv") && split != std::string_view::npos) {
    const std::string name =
        fmt::format("block{}_conv{}", pattern.substr(4, split - 4), pattern.substr(split + 1));
    if (is_name(name)) return name;
  }
  std::vector<std::string> known = names;
  known.emplace_back("all");
  return nearest_name(pattern, known);
}

std::vector<int> matching_layers(std::string_view selector, std::string_view pattern,
                                 const Network& network) {
  std::vector<int> layers;
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    if (matches_glob(pattern, network.convolutions[layer].name)) layers.push_back(layer);
  }
  if (!layers.empty()) return layers;

  std::vector<std::string> names;
  for (const Convolution& convolution : network.convolutions) names.push_back(convolution.name);
  if (pattern.empty()) {
    fail(selector, fmt::format("expected `all`, LAYER or LAYER:LIST, found no layer. The layers of {} are {}",
                               network.name, fmt::join(names, ", ")));
  }
  std::string suggestion;
  if (const auto likely = likely_pattern(pattern, names))
    suggestion = fmt::format("; did you mean \"{}\"?", *likely);
  fail(selector, fmt::format("no layer of {} {} \"{}\"{}{} The layers are {}", network.name,
                             pattern.find('*') == std::string_view::npos ? "is called" : "matches", pattern,
                             suggestion, suggestion.empty() ? "." : "", fmt::join(names, ", ")));
}

// `count` different filters of `layer`: the first steps of a Fisher-Yates shuffle, so that the draw of a
// smaller count is part of the draw of a larger one. Reducing a 32-bit word to a few hundred values by
// multiplication is biased by less than 2^-22.
std::vector<int> draw(int count, int filters, int layer, std::uint64_t seed) {
  std::vector<int> order(filters);
  std::iota(order.begin(), order.end(), 0);
  for (int i = 0; i < count; ++i) {
    const Philox::Counter words =
        random_block(seed, RandomStream::selection, static_cast<std::uint32_t>(layer), 0,
                     static_cast<std::uint32_t>(i / 4));
    const std::uint64_t remaining = static_cast<std::uint64_t>(filters - i);
    std::swap(order[i], order[i + static_cast<int>((words[i % 4] * remaining) >> 32)]);
  }
  order.resize(count);
  return order;
}

// The filters of one layer that one item of a LIST names.
std::vector<int> parse_item(std::string_view selector, std::string_view item, int layer,
                            const Network& network, std::uint64_t seed) {
  const Convolution& convolution = network.convolutions[layer];
  const int filters = convolution.out_channels;

  if (item.starts_with(kRandomPrefix)) {
    const auto count = parse_number(item.substr(kRandomPrefix.size()));
    if (!count)
      fail(selector, fmt::format("expected a count after `random`, as in `random3`, found \"{}\"", item));
    if (*count < 1 || *count > filters) {
      fail(selector,
           fmt::format(
               "\"{}\" asks for a number of filters that {} does not have; expected random1 to random{}",
               item, convolution.name, filters));
    }
    return draw(*count, filters, layer, seed);
  }

  const std::size_t dash = item.find('-');
  const auto first = parse_number(item.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_number(item.substr(dash + 1));
  if (!first || !last) {
    fail(selector,
         fmt::format(
             "expected a filter number, a range such as `0-63`, or `random3` in the list, found \"{}\"; the "
             "filters of {} are 0..{}",
             item, convolution.name, filters - 1));
  }
  if (*first >= filters || *last >= filters) {
    fail(selector, fmt::format("\"{}\" is out of range: the filters of {} are 0..{}", item, convolution.name,
                               filters - 1));
  }
  if (*first > *last) {
    fail(selector,
         fmt::format("the range \"{}\" runs backwards; write it as \"{}-{}\"", item, *last, *first));
  }
  std::vector<int> range(*last - *first + 1);
  std::iota(range.begin(), range.end(), *first);
  return range;
}

void add_selector(std::set<FilterId>& selection, std::string_view selector, const Network& network,
                  std::uint64_t seed) {
  const std::size_t colon = selector.find(':');
  const std::string_view pattern = selector.substr(0, colon);
  if (pattern == "all" && colon != std::string_view::npos) {
    fail(selector, fmt::format("`all` takes no list; write \"*{}\" for these filters of every layer",
                               selector.substr(colon)));
  }

  for (const int layer : matching_layers(selector, pattern == "all" ? "*" : pattern, network)) {
    if (colon == std::string_view::npos) {
      for (int filter = 0; filter < network.convolutions[layer].out_channels; ++filter)
        selection.insert({layer, filter});
      continue;
    }
    std::string_view list = selector.substr(colon + 1);
    while (true) {
      const std::size_t comma = list.find(',');
      for (const int filter : parse_item(selector, list.substr(0, comma), layer, network, seed)) {
        selection.insert({layer, filter});
      }
      if (comma == std::string_view::npos) break;
      list.remove_prefix(comma + 1);
    }
  }
}

}  // namespace

std::vector<FilterId> parse_selection(std::span<const std::string> selectors, const Network& network,
                                      std::uint64_t seed) {
  std::set<FilterId> selection;
  if (selectors.empty()) add_selector(selection, "all", network, seed);
  for (const std::string& selector : selectors) add_selector(selection, selector, network, seed);
  return {selection.begin(), selection.end()};
}

std::string selectors_of(std::span<const FilterId> filters, const Network& network) {
  std::string text;
  for (std::size_t first = 0; first < filters.size();) {
    const int layer = filters[first].layer;
    const Convolution& convolution = network.convolutions[layer];
    if (!text.empty()) text += ' ';
    text += convolution.name;
    std::size_t end = first;
    while (end < filters.size() && filters[end].layer == layer) ++end;
    if (std::cmp_less(end - first, convolution.out_channels)) {
      char separator = ':';
      for (std::size_t i = first, last = i; i < end; i = last + 1, separator = ',') {
        for (last = i; last + 1 < end && filters[last + 1].filter == filters[last].filter + 1;) ++last;
        text += separator + std::to_string(filters[i].filter);
        if (last > i) text += '-' + std::to_string(filters[last].filter);
      }
    }
    first = end;
  }
  return text;
}

}  // namespace filterscope
