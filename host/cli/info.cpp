#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../base/error.h"
#include "../devices/devices.h"
#include "../model/weights/weights.h"
#include "build_info.h"
#include "commands.h"
#include "common_options.h"
#include "options.h"
#include "version.h"

namespace filterscope::cli {

namespace {

const OptionTable& info_options() {
  static const OptionTable table(
      "filterscope info",
      {{"Listing", "weights", "PATH|synthetic[:SEED]",
        "Read these weights and say whether they can be used; without it, only list where weights are looked "
        "for ($FILTERSCOPE_WEIGHTS, weights/, ~/.keras/models/)"}});
  return table;
}

void print_row(std::string_view name, std::string_view text) {
  fmt::print("  {:<24} {}\n", name, text);
}

// If one part is not available, the others are still printed.
void print_part(std::string_view heading, const std::function<void()>& print) {
  fmt::print("\n{}\n", heading);
  try {
    print();
  } catch (const std::exception& exception) {
    print_row("not available", exception.what());
  }
}

void print_devices() {
  for (const DeviceInfo& device : list_devices()) {
    std::string text = device.name;
    const auto append = [&](std::string_view part) {
      text += (text.empty() ? "" : "; ") + std::string(part);
    };
    if (!device.usable) append("not usable");
    if (!device.remark.empty()) append(device.remark);
    print_row(device.id, text);
  }
  const DeviceChoice choice = default_device();
  print_row("--device auto",
            fmt::format("means {} here{}{}", choice.id, choice.reason.empty() ? "" : ": ", choice.reason));
}

void print_timings() {
  const auto timings = gpu_facts().timings;
  for (const auto& [device, text] : timings) print_row(device, text);
  if (timings.empty()) print_row("none", "only GPUs have kernels that are timed on first use");
}

void print_libraries() {
  auto libraries = library_versions();
  std::ranges::move(gpu_facts().libraries, std::back_inserter(libraries));
  for (auto& library : compiled_library_versions()) {
    const auto same = [&](const auto& known) { return known.first == library.first; };
    if (std::ranges::none_of(libraries, same)) libraries.push_back(std::move(library));
  }
  for (const auto& [name, version] : libraries) print_row(name, version);
}

void print_weights(const std::optional<std::string>& option) {
  constexpr std::string_view kVariable = "$FILTERSCOPE_WEIGHTS";
  const auto places = weights_places(option);
  if (!option && std::ranges::find(places, kVariable, &WeightsPlace::origin) == places.end()) {
    print_row(kVariable, "not set");
  }
  bool found = false;
  for (const WeightsPlace& place : places) {
    const bool first = (place.found || place.synthetic_seed) && !found;
    found = found || first;
    print_row(place.origin, place.synthetic_seed
                                ? place.path.string() + ": made by the program, nothing to find"
                            : place.found ? fmt::format("{}{}", place.found->string(),
                                                        first ? "   <- read when weights are needed" : "")
                                          : place.path.string() + ": nothing found");
  }
  if (!found) print_row("", "weights/fetch.sh downloads the file; `--weights synthetic` needs none");
}

}  // namespace

int run_info(const std::vector<std::string>& arguments) {
  const Arguments options = info_options().parse(arguments);
  if (options.has("help")) {
    fmt::print(
        "Prints the version, how the program was built, devices, libraries, stored timings of kernels, and "
        "where weights\nare looked for.\n\n"
        "Usage: filterscope info [OPTION...]\n\n{}",
        info_options().help());
    return 0;
  }
  refuse_positional("info", options);
  const auto weights = parse_weights(options);
  if (weights) weights_places(*weights);  // Refuses a senseless value before anything is printed.

  fmt::print("filterscope {}\n", kVersion);
  print_part("Build", [] {
    for (const auto& [name, text] : build_facts()) print_row(name, text);
  });
  print_part("Devices", print_devices);
  print_part("Libraries", print_libraries);
  print_part("Timings of kernels (plan cache)", print_timings);
  print_part("Weights, in the order they are looked for", [&] { print_weights(weights); });
  // With --weights, the exit code says whether they can be used.
  if (!weights) return 0;
  const Weights read = resolve_weights(weights, vgg16());
  const int held = static_cast<int>(std::ranges::count_if(
      read.layers, [](const std::optional<LayerWeights>& layer) { return layer.has_value(); }));
  print_row("", fmt::format("{}: {} of {} layers", to_string(read.kind), held, vgg16().layer_count()));
  for (const auto* phrases : {&read.conversions, &read.notes})
    for (const std::string& phrase : *phrases) print_row("", phrase);
  return 0;
}

}  // namespace filterscope::cli
