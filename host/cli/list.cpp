#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "commands.h"
#include "common_options.h"
#include "options.h"
#include "text.h"

namespace filterscope::cli {

namespace {

const OptionTable& list_options() {
  static const OptionTable table(
      "filterscope list",
      {{"Listing", "weights", "PATH|synthetic[:SEED]",
        "Show which layers these weights hold (default: the first file found, see `filterscope info`)"},
       {"Listing", "size", "N",
        fmt::format("Height and width of the image, from {} (default: {})", vgg16().smallest_image(),
                    recipes().front().last().extent.height)}});
  return table;
}

std::string shape_text(Extent extent, int channels) {
  return fmt::format("{} x {}", size_text(extent), channels);
}

void print_row(std::string_view layer, std::string_view shape, std::string_view filters,
               std::string_view parameters, std::string_view gflop, std::string_view held) {
  fmt::print("{}\n", fmt::format("{:<14} {:<17} {:>7} {:>12} {:>11}   {}", layer, shape, filters, parameters,
                                 gflop, held));
}

// None without --weights and without a file in any of the usual places; a file that exists must be readable.
std::optional<Weights> weights_if_any(const std::optional<std::string>& option, const Network& network) {
  if (!option) {
    const auto places = weights_places();
    if (std::ranges::none_of(places,
                             [](const WeightsPlace& place) { return place.found || place.synthetic_seed; }))
      return {};
  }
  return resolve_weights(option, network);
}

}  // namespace

int run_list(const std::vector<std::string>& arguments) {
  const Arguments options = list_options().parse(arguments);
  if (options.has("help")) {
    fmt::print(
        "Lists the layers: output shapes at an image size, parameters, cost, and which of them the weights "
        "hold.\n\n"
        "Usage: filterscope list [OPTION...]\n\n{}\n{}",
        list_options().help(), exit_codes_help());
    return 0;
  }
  refuse_positional("list", options);

  const Network& network = vgg16();
  const int side = parse_size(options, network).value_or(recipes().front().last().extent.height);
  const Extent image{side, side};
  const std::optional<Weights> weights = weights_if_any(parse_weights(options), network);

  fmt::print("{} without its top, as Keras names the layers; image {}\n\n", network.name,
             shape_text(image, 3));
  print_row("layer", "output shape", "filters", "parameters", "GFLOP", "weights");
  int held = 0;
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    const Convolution& convolution = network.convolutions[layer];
    const bool holds = weights && weights->holds(layer);
    held += holds ? 1 : 0;
    const Extent map = network.map_extent(layer, image);
    print_row(convolution.name, shape_text(map, convolution.out_channels),
              fmt::to_string(convolution.out_channels), with_thousands(convolution.parameters()),
              fmt::format("{:.4f}", network.iteration_flops(layer, image) / 1e9),
              holds ? "yes" : (weights ? "no" : "-"));
    if (convolution.pool_after) {
      print_row(convolution.name.substr(0, convolution.name.find('_')) + "_pool",
                shape_text({map.height / 2, map.width / 2}, convolution.out_channels), "", "0", "", "");
    }
  }
  print_row("total", "", with_thousands(network.filter_count()), with_thousands(network.parameters()), "",
            "");
  fmt::print(
      "\nTotal parameters: {}. GFLOP: cost of one iteration of one filter (10^9 operations, two per "
      "multiply-add).\n",
      with_thousands(network.parameters()));

  if (!weights) {
    fmt::print(
        "Weights: none found. weights/fetch.sh downloads them, --weights PATH names a file, `--weights "
        "synthetic` needs\nnone; `filterscope info` shows where they are looked for.\n");
    return 0;
  }
  fmt::print("Weights: {} ({}) holds {} of {} layers.\n", weights_text(*weights), to_string(weights->kind),
             held, network.layer_count());
  const int renderable = renderable_layers(network, *weights);
  if (renderable < network.layer_count()) {
    fmt::print(
        "With them, `filterscope render` can render: {}\n",
        renderable > 0 ? selectors_text(network, renderable) : "nothing, since the first layer is missing");
  }
  return 0;
}

}  // namespace filterscope::cli
