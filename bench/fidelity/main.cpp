// Measures the errors of an engine in each precision: gradients of every layer against double precision, and
// final losses of whole ascents against the CPU engine's in fp32, computed here or read from a file.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cxxopts.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/base/parallel.h"
#include "host/devices/devices.h"
#include "losses.h"
#include "tests/support/gradient_fidelity.h"
#include "tests/support/reference.h"

namespace filterscope::fidelity {
namespace {

// The relative error that a final loss may have.
double loss_limit(Precision precision) {
  return precision == Precision::fp32 ? 1e-3 : 1e-2;
}
// The share of filters that must be within the limit, in total and in each layer. A few ascents end
// elsewhere, which no perturbation predicts.
constexpr double kWithin = 0.95;
constexpr double kWithinOfLayer = 0.75;

// Images and their gradients in double precision.
struct Probes {
  std::vector<FilterId> filters;
  std::vector<float> images;
  std::vector<reference::Gradient> expected;
};

Probes make_probes(const Weights& weights, const Recipe& recipe, const RenderOptions& options,
                   const std::vector<FilterId>& filters, int iterations) {
  Probes probes{.filters = filters, .images = {}, .expected = {}};
  if (iterations == 0) {
    probes.images = shaken_noise(recipe, options, filters, 0.f).values;
  } else {
    Recipe ascent = recipe;
    ascent.stages[0].iterations = iterations;
    RenderOptions on_cpu = options;
    on_cpu.device = "cpu";
    on_cpu.keep_images = true;
    for (const auto& [id, result] : render(weights, ascent, on_cpu, filters))
      probes.images.insert(probes.images.end(), result.image.begin(), result.image.end());
  }
  probes.expected.resize(filters.size());
  const Stage& stage = recipe.first();
  const std::size_t size = stage.extent.positions() * 3;
  const auto images = std::span<const float>(probes.images);
  for_each_parallel(filters.size(), [&](std::size_t i) {
    probes.expected[i] = reference::loss_and_gradient(
        vgg16(), weights, stage.input_mapping, filters[i].layer, filters[i].filter,
        reference::Map(stage.extent, 3, images.subspan(i * size, size)), stage.objective.rescue);
  });
  return probes;
}

using LayerErrors = std::map<int, std::vector<GradientErrors>>;

void add_errors(const Probes& probes, const Weights& weights, const Recipe& recipe,
                const RenderOptions& options, LayerErrors& errors) {
  const auto found =
      make_renderer(vgg16(), weights, recipe, options)->gradients(probes.filters, probes.images);
  std::vector<GradientErrors> own(found.size());
  for_each_parallel(found.size(), [&](std::size_t i) {
    own[i] = gradient_errors(found[i], probes.expected[i], vgg16(), weights, recipe.first().input_mapping,
                             recipe.first().extent);
  });
  for (std::size_t i = 0; i < found.size(); ++i) errors[found[i].id.layer].push_back(own[i]);
}

std::string text_of(const std::optional<double>& value) {
  return value ? fmt::format("{:.1e}", *value) : "-";
}
nlohmann::json json_of(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

// Prints the errors and adds them to the report. Returns whether all are within their limits.
bool judge_gradients(const LayerErrors& errors, Precision precision, int size, nlohmann::json& report) {
  const GradientLimits limits = gradient_limits(precision);
  fmt::print(
      "\nGradients against double precision at {} x {}\n\n"
      "| layer | step, given its masks: worst | norm: worst | mask bits that differ | step: median |\n"
      "|---|---|---|---|---|\n| limit | {:.0e} | {:.0e} | {:.0e} | {:.0e} |\n",
      size, size, limits.step, limits.norm, limits.masks, limits.free_step);
  bool good = true;
  for (const auto& [layer, of_layer] : errors) {
    const GradientSummary summary = summarise(of_layer);
    const std::string& name = vgg16().convolutions[layer].name;
    const bool good_layer = within(summary, limits);
    fmt::print("| {} | {} | {} | {} | {:.1e} |{}\n", name, text_of(summary.worst_step),
               text_of(summary.worst_norm), text_of(summary.masks), summary.median_free_step,
               good_layer ? "" : " <- BEYOND");
    report.push_back({{"layer", name},
                      {"worst_step", json_of(summary.worst_step)},
                      {"worst_norm", json_of(summary.worst_norm)},
                      {"gates", json_of(summary.masks)},
                      {"median_free_step", summary.median_free_step},
                      {"within_limits", good_layer}});
    good = good && good_layer;
  }
  return good;
}

bool judge_losses(const std::map<int, LossRow>& rows, double limit, bool same_dead_wanted,
                  const ExpectedLosses& expected, nlohmann::json& report) {
  fmt::print(
      "\nFinal losses against the CPU engine after {} iterations at {} x {}, limit {:g} or {} spreads\n\n"
      "| layer | median | worst | spread | within | rescued | dead, expected "
      "|\n|---|---|---|---|---|---|---|\n",
      expected.iterations, expected.size, expected.size, limit, kSpreads);
  int within = 0;
  int filters = 0;
  bool good_layers = true;
  bool same_dead = true;
  for (const auto& [layer, row] : rows) {
    const std::string& name = vgg16().convolutions[layer].name;
    fmt::print("| {} | {:.1e} | {:.1e} | {:.1e} | {} of {} | {} | {}, {}{} |\n", name, row.median(),
               row.worst(), row.spread, row.within, row.errors.size(), row.rescued, row.dead,
               row.dead_expected, row.same_dead ? "" : ": others");
    report.push_back({{"layer", name},
                      {"median", row.median()},
                      {"worst", row.worst()},
                      {"spread", row.spread},
                      {"within", row.within},
                      {"filters", row.errors.size()},
                      {"rescued", row.rescued},
                      {"dead", row.dead},
                      {"dead_expected", row.dead_expected},
                      {"same_dead", row.same_dead}});
    const int count = static_cast<int>(row.errors.size());
    good_layers = good_layers && row.within >= static_cast<int>(kWithinOfLayer * count);
    within += row.within;
    filters += count;
    same_dead = same_dead && row.same_dead;
  }
  return within >= kWithin * filters && good_layers && (same_dead || !same_dead_wanted);
}

// The real weights if `filterscope render` would find them, since synthetic ones hide important cases.
Weights find_weights(const std::optional<std::string>& option) {
  const auto places = weights_places(option);
  if (option ||
      std::ranges::any_of(places, [](const WeightsPlace& place) { return place.named || place.found; }))
    return resolve_weights(option, vgg16());
  std::cerr << "fidelity: no weights found, continuing with synthetic ones; weights/fetch.sh downloads the "
               "real ones\n";
  return synthetic_weights(vgg16());
}

int run(int argc, char** argv) {
  cxxopts::Options options("fidelity",
                           "Errors of an engine's precisions: gradients of every layer against double "
                           "precision, and final losses against the CPU engine's. Exit code 1 if one exceeds "
                           "its limit.");
  const auto text = [] { return cxxopts::value<std::string>(); };
  const auto number = [](const char* usual) { return cxxopts::value<int>()->default_value(usual); };
  auto add = options.add_options();
  add("device", "Device to judge", text()->default_value("cuda"));
  add("precisions", "Precisions to judge, separated by commas",
      cxxopts::value<std::vector<std::string>>()->default_value("fp32,tf32,fp16,bf16"));
  add("weights", "As --weights of filterscope render (default: those that it finds, else synthetic ones)",
      text());
  add("filters", "Filters of each layer whose final losses are compared", number("8"));
  add("gradients", "Filters of each layer whose gradients are compared; 0: none", number("2"));
  add("iterations", "Iterations of the ascents", number("500"));
  add("size", "Height and width of the ascents' images", number("96"));
  add("gradient-iterations", "Iterations after which gradients are compared, besides those of noise",
      number("50"));
  add("gradient-size", "Height and width of the images for gradients; double precision is slow",
      number("32"));
  add("expected",
      "Final losses that --write-expected has stored, to compare with; filters, iterations and size are the "
      "file's. If its weights are others, it is not used",
      text());
  add("write-expected",
      "Only compute the CPU engine's final losses, for every precision, and write them to this file", text());
  add("json", "Also write the table to this file", text());
  add("help", "Print this");
  const cxxopts::ParseResult arguments = options.parse(argc, argv);
  const auto value = [&](const char* name) {
    return arguments.count(name) != 0 ? std::optional(arguments[name].as<std::string>()) : std::nullopt;
  };
  if (arguments.count("help") != 0) {
    std::cout << options.help();
    return 0;
  }
  const Network& network = vgg16();
  const Weights weights = find_weights(value("weights"));
  const std::string device = arguments["device"].as<std::string>();

  Recipe ascent = find_recipe("seed");
  ascent.stages[0].iterations = arguments["iterations"].as<int>();
  int size = arguments["size"].as<int>();
  std::vector<FilterId> filters = draw(network, weights, arguments["filters"].as<int>());
  if (const auto path = value("write-expected")) {
    ascent.stages[0].extent = {size, size};
    write_expected(compute_expected(weights, ascent, filters, ExpectedLosses::kRoundings.back()), *path);
    return EXIT_SUCCESS;
  }
  std::optional<ExpectedLosses> expected;
  if (const auto path = value("expected")) {
    expected = read_expected(*path);
    if (!belong_to(weights, *expected)) {
      std::cerr << fmt::format(
          "fidelity: {} is of {}, which are other weights than {}: computing the CPU engine's losses\n",
          *path, expected->weights, weights.name);
      expected.reset();
    } else {
      ascent.stages[0].iterations = expected->iterations;
      size = expected->size;
      filters = expected->filters();
    }
  }
  ascent.stages[0].extent = {size, size};
  RenderOptions ascent_options;

  RenderOptions probe_options;
  const int probe_size = arguments["gradient-size"].as<int>();
  Recipe probe_ascent = ascent;
  probe_ascent.stages[0].extent = {probe_size, probe_size};
  const std::vector<FilterId> probed = draw(network, weights, arguments["gradients"].as<int>());

  // First of all, check that the device is available.
  ascent_options.device = probe_options.device = device;
  std::vector<Precision> precisions;
  float largest_rounding = 0;
  for (const std::string& name : arguments["precisions"].as<std::vector<std::string>>()) {
    precisions.push_back(parse_precision(name));
    largest_rounding = std::max(largest_rounding, rounding(precisions.back()));
    ascent_options.precision = precisions.back();
    make_renderer(network, weights, ascent, ascent_options);
  }

  std::vector<Probes> probes;
  for (const int iterations : {0, arguments["gradient-iterations"].as<int>()}) {
    if (!probed.empty() && (probes.empty() || iterations > 0))
      probes.push_back(make_probes(weights, probe_ascent, probe_options, probed, iterations));
  }
  // Rounded weights count as one more rounding, to binary16.
  const bool rounded = expected && are_float16(weights);
  if (rounded) fmt::print("{}: 16-bit weights; judged at least as fp16 is\n", weights.name);
  if (!expected) expected = compute_expected(weights, ascent, filters, largest_rounding);

  nlohmann::json report = {
      {"device", device}, {"weights", weights.name},     {"iterations", ascent.iterations()},
      {"size", size},     {"gradient_size", probe_size}, {"precisions", nlohmann::json::array()}};
  bool faithful = true;
  for (const Precision precision : precisions) {
    ascent_options.precision = probe_options.precision = precision;
    fmt::print("\n## {} on {}\n", to_string(precision), device);

    LayerErrors errors;
    for (const Probes& some : probes) add_errors(some, weights, ascent, probe_options, errors);
    nlohmann::json gradients = nlohmann::json::array();
    const bool good_gradients = probes.empty() || judge_gradients(errors, precision, probe_size, gradients);

    const Precision least = rounded && precision == Precision::fp32 ? Precision::fp16 : precision;
    nlohmann::json losses = nlohmann::json::array();
    const bool good_losses =
        judge_losses(compare_losses(render(weights, ascent, ascent_options, filters), *expected,
                                    expected->spreads(rounding(least)), loss_limit(least)),
                     loss_limit(least), least == Precision::fp32, *expected, losses);

    fmt::print("\n{}: gradients {}, losses {}\n", to_string(precision),
               probes.empty()   ? "not compared"
               : good_gradients ? "within limits"
                                : "BEYOND LIMITS",
               good_losses ? "within limits" : "BEYOND LIMITS");
    std::cout.flush();
    faithful = faithful && good_gradients && good_losses;
    report["precisions"].push_back({{"precision", to_string(precision)},
                                    {"within_limits", good_gradients && good_losses},
                                    {"gradients", gradients},
                                    {"losses", losses}});
  }
  if (const auto path = value("json")) std::ofstream(*path) << report.dump(2) << '\n';
  return faithful ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace filterscope::fidelity

int main(int argc, char** argv) {
  try {
    return filterscope::fidelity::run(argc, argv);
  } catch (const filterscope::Error& error) {
    std::cerr << "fidelity: " << error.what() << '\n';
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "fidelity: " << error.what() << '\n';
    return 2;
  }
}
