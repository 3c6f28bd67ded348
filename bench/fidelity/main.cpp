// How faithful an engine is in each precision: gradients of every layer against double precision, and final
// losses of whole ascents against the CPU engine's fp32.
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

#include "host/ascent.h"
#include "host/engine.h"
#include "host/error.h"
#include "host/philox.h"
#include "tests/support/gradient_fidelity.h"
#include "tests/support/reference.h"

namespace filterscope {
namespace {

class Collector final : public RenderObserver {
 public:
  void on_finished(FilterResult result) override { results.emplace(result.id, std::move(result)); }
  void on_progress(std::int64_t) override {}
  void on_loss(FilterId, TracePoint) override {}

  std::map<FilterId, FilterResult> results;
};

using Results = std::map<FilterId, FilterResult>;

// Of the final loss, relative.
double loss_limit(Precision precision) {
  return precision == Precision::fp32 ? 1e-3 : 1e-2;
}
// Of the filters, as many are within it.
constexpr double kWithin = 0.99;
// An ascent that ends elsewhere after the smallest of changes is no measure of rounding: where two ascents of
// the CPU engine end so far apart that begin a rounding apart, this many times that is allowed.
constexpr double kSpreads = 3;

// One rounding, relative.
float rounding(Precision precision) {
  switch (precision) {
    case Precision::tf32:
    case Precision::fp16:
      return 0x1p-11f;
    case Precision::bf16:
      return 0x1p-8f;
    case Precision::automatic:
    case Precision::fp32:
      break;
  }
  return 0x1p-23f;
}

// Filters that all runs of a program draw alike.
std::vector<FilterId> draw(const Network& network, const Weights& weights, int per_layer) {
  std::vector<FilterId> filters;
  for (int layer = 0; layer < network.layer_count() && weights.holds(layer); ++layer) {
    const int count = network.convolutions[layer].out_channels;
    std::vector<FilterId> of_layer;
    for (std::uint32_t i = 0; std::ssize(of_layer) < std::min(per_layer, count); ++i) {
      const auto word = random_block(0, RandomStream::selection, static_cast<std::uint32_t>(layer), 0, i)[0];
      const FilterId id{layer, static_cast<int>(word % static_cast<std::uint32_t>(count))};
      if (std::ranges::find(of_layer, id) == of_layer.end()) of_layer.push_back(id);
    }
    std::ranges::sort(of_layer);
    filters.insert(filters.end(), of_layer.begin(), of_layer.end());
  }
  return filters;
}

Results render(const Weights& weights, const Recipe& recipe, const RenderOptions& options,
               const std::vector<FilterId>& filters) {
  Collector collector;
  make_engine(vgg16(), weights, recipe, options)->render(filters, collector, {});
  return std::move(collector.results);
}

// The start images of filters, each value off by `relative` one way or the other.
InitialImages shaken_noise(const Recipe& recipe, const RenderOptions& options,
                           const std::vector<FilterId>& filters, float relative) {
  const std::size_t size = options.extent.positions() * 3;
  InitialImages images{.values = std::vector<float>(filters.size() * size),
                       .count = static_cast<int>(filters.size()),
                       .extent = options.extent};
  for (std::size_t i = 0; i < filters.size(); ++i) {
    const auto image = std::span(images.values).subspan(i * size, size);
    initial_noise(recipe.initial_image, options.seed, filters[i], image);
    for (std::size_t at = 0; at < size; ++at) {
      const auto word = random_block(0, RandomStream::selection, static_cast<std::uint32_t>(i), 1,
                                     static_cast<std::uint32_t>(at))[0];
      image[at] *= 1 + (word % 2 == 0 ? relative : -relative);
    }
  }
  return images;
}

double relative_error(float found, float expected) {
  return found == expected ? 0 : std::abs(found - expected) / std::abs(expected);
}

// By how much the final losses of each layer's ascents differ at most.
std::map<int, double> spread_of(const Results& some, const Results& others) {
  std::map<int, double> spread;
  for (const auto& [id, result] : some) {
    double& most = spread[id.layer];
    most = std::max(most, relative_error(result.final_loss, others.at(id).final_loss));
  }
  return spread;
}

// Images, and double precision's gradients of them.
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
    ascent.iterations = iterations;
    RenderOptions on_cpu = options;
    on_cpu.device = "cpu";
    on_cpu.keep_images = true;
    for (const auto& [id, result] : render(weights, ascent, on_cpu, filters))
      probes.images.insert(probes.images.end(), result.image.begin(), result.image.end());
  }
  probes.expected.resize(filters.size());
  const std::size_t size = options.extent.positions() * 3;
  const auto images = std::span<const float>(probes.images);
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < filters.size(); ++i) {
    probes.expected[i] = reference::loss_and_gradient(
        vgg16(), weights, recipe.input_mapping, filters[i].layer, filters[i].filter,
        reference::Map(options.extent, 3, images.subspan(i * size, size)));
  }
  return probes;
}

using LayerErrors = std::map<int, std::vector<fidelity::GradientErrors>>;

void add_errors(const Probes& probes, const Weights& weights, const Recipe& recipe,
                const RenderOptions& options, LayerErrors& errors) {
  const auto found = make_engine(vgg16(), weights, recipe, options)->gradients(probes.filters, probes.images);
  std::vector<fidelity::GradientErrors> own(found.size());
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < found.size(); ++i) {
    own[i] = fidelity::gradient_errors(found[i], probes.expected[i], vgg16(), weights, recipe.input_mapping,
                                       options.extent);
  }
  for (std::size_t i = 0; i < found.size(); ++i) errors[found[i].id.layer].push_back(own[i]);
}

struct LossRow {
  std::vector<double> errors;
  double spread = 0;
  int within = 0;  // Filters whose final loss is within the limit.
  int dead = 0;
  int dead_expected = 0;
  bool same_dead = true;  // The same filters.

  double median() const { return errors.empty() ? 0 : errors[errors.size() / 2]; }
  double worst() const { return errors.empty() ? 0 : errors.back(); }
};

std::map<int, LossRow> compare_losses(const Results& found, const Results& expected,
                                      const std::map<int, double>& spread, double limit) {
  std::map<int, LossRow> rows;
  for (const auto& [id, result] : found) {
    const FilterResult& reference = expected.at(id);
    LossRow& row = rows[id.layer];
    row.spread = spread.at(id.layer);
    const bool dead = result.status == FilterStatus::dead;
    const bool dead_expected = reference.status == FilterStatus::dead;
    row.dead += dead ? 1 : 0;
    row.dead_expected += dead_expected ? 1 : 0;
    row.same_dead = row.same_dead && dead == dead_expected;
    const double error = relative_error(result.final_loss, reference.final_loss);
    row.within += error <= std::max(limit, kSpreads * row.spread) ? 1 : 0;
    row.errors.push_back(error);
  }
  for (auto& [layer, row] : rows) std::ranges::sort(row.errors);
  return rows;
}

std::string text_of(const std::optional<double>& value) {
  return value ? fmt::format("{:.1e}", *value) : "-";
}
nlohmann::json json_of(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

// Prints them and adds them to the report; whether all are within their limits.
bool judge_gradients(const LayerErrors& errors, Precision precision, int size, nlohmann::json& report) {
  const fidelity::GradientLimits limits = fidelity::gradient_limits(precision);
  fmt::print(
      "\nGradients against double precision at {} x {}\n\n"
      "| layer | step, given its gates: worst | norm: worst | gates that differ | step: median |\n"
      "|---|---|---|---|---|\n| limit | {:.0e} | {:.0e} | {:.0e} | {:.0e} |\n",
      size, size, limits.step, limits.norm, limits.gates, limits.free_step);
  bool good = true;
  for (const auto& [layer, of_layer] : errors) {
    const fidelity::GradientSummary summary = fidelity::summarise(of_layer);
    const std::string& name = vgg16().convolutions[layer].name;
    const bool within = fidelity::within(summary, limits);
    fmt::print("| {} | {} | {} | {} | {:.1e} |{}\n", name, text_of(summary.worst_step),
               text_of(summary.worst_norm), text_of(summary.gates), summary.median_free_step,
               within ? "" : " <- BEYOND");
    report.push_back({{"layer", name},
                      {"worst_step", json_of(summary.worst_step)},
                      {"worst_norm", json_of(summary.worst_norm)},
                      {"gates", json_of(summary.gates)},
                      {"median_free_step", summary.median_free_step},
                      {"within_limits", within}});
    good = good && within;
  }
  return good;
}

bool judge_losses(const std::map<int, LossRow>& rows, Precision precision, const Recipe& recipe, int size,
                  nlohmann::json& report) {
  fmt::print(
      "\nFinal losses against the CPU engine after {} iterations at {} x {}, limit {:g} or {} spreads\n\n"
      "| layer | median | worst | spread | within | dead, expected |\n|---|---|---|---|---|---|\n",
      recipe.iterations, size, size, loss_limit(precision), kSpreads);
  int within = 0;
  int filters = 0;
  bool same_dead = true;
  for (const auto& [layer, row] : rows) {
    const std::string& name = vgg16().convolutions[layer].name;
    fmt::print("| {} | {:.1e} | {:.1e} | {:.1e} | {} of {} | {}, {}{} |\n", name, row.median(), row.worst(),
               row.spread, row.within, row.errors.size(), row.dead, row.dead_expected,
               row.same_dead ? "" : ": others");
    report.push_back({{"layer", name},
                      {"median", row.median()},
                      {"worst", row.worst()},
                      {"spread", row.spread},
                      {"within", row.within},
                      {"filters", row.errors.size()},
                      {"dead", row.dead},
                      {"dead_expected", row.dead_expected},
                      {"same_dead", row.same_dead}});
    within += row.within;
    filters += static_cast<int>(row.errors.size());
    same_dead = same_dead && row.same_dead;
  }
  return within >= kWithin * filters && (same_dead || precision != Precision::fp32);
}

int run(int argc, char** argv) {
  cxxopts::Options options("fidelity",
                           "Errors of an engine's precisions: gradients of every layer against double "
                           "precision, and final losses against the CPU engine's. Exit code 1 where one is "
                           "beyond its limit.");
  options.add_options()("device", "Device to judge", cxxopts::value<std::string>()->default_value("cuda"))(
      "precisions", "Which, separated by commas",
      cxxopts::value<std::vector<std::string>>()->default_value("fp32,tf32,fp16,bf16"))(
      "weights", "As filterscope render takes them",
      cxxopts::value<std::string>()->default_value("synthetic"))(
      "filters", "Filters of each layer whose final losses are compared",
      cxxopts::value<int>()->default_value("8"))("gradients",
                                                 "Filters of each layer whose gradients are compared",
                                                 cxxopts::value<int>()->default_value("2"))(
      "iterations", "Of the ascents", cxxopts::value<int>()->default_value("500"))(
      "size", "Height and width of the ascents' images", cxxopts::value<int>()->default_value("96"))(
      "gradient-iterations", "Gradients of noise, and of what so many iterations make of it",
      cxxopts::value<int>()->default_value("50"))(
      "gradient-size", "Height and width for the gradients; double precision is slow",
      cxxopts::value<int>()->default_value("32"))("json", "Also write the table to this file",
                                                  cxxopts::value<std::string>())("help", "Print this");
  const cxxopts::ParseResult arguments = options.parse(argc, argv);
  if (arguments.count("help") != 0) {
    std::cout << options.help();
    return 0;
  }
  const Network& network = vgg16();
  const Weights weights = resolve_weights(arguments["weights"].as<std::string>(), network);
  const std::string device = arguments["device"].as<std::string>();

  Recipe ascent = find_recipe("seed");
  ascent.iterations = arguments["iterations"].as<int>();
  RenderOptions ascent_options;
  const int size = arguments["size"].as<int>();
  ascent_options.extent = {size, size};
  const std::vector<FilterId> filters = draw(network, weights, arguments["filters"].as<int>());

  RenderOptions probe_options;
  const int probe_size = arguments["gradient-size"].as<int>();
  probe_options.extent = {probe_size, probe_size};
  const std::vector<FilterId> probed = draw(network, weights, arguments["gradients"].as<int>());

  // First of all, whether the device can be had.
  ascent_options.device = probe_options.device = device;
  for (const std::string& name : arguments["precisions"].as<std::vector<std::string>>()) {
    ascent_options.precision = parse_precision(name);
    make_engine(network, weights, ascent, ascent_options);
  }

  std::vector<Probes> probes;
  for (const int iterations : {0, arguments["gradient-iterations"].as<int>()}) {
    if (probes.empty() || iterations > 0)
      probes.push_back(make_probes(weights, ascent, probe_options, probed, iterations));
  }
  RenderOptions judge = ascent_options;
  judge.device = "cpu";
  judge.precision = Precision::fp32;
  const Results expected = render(weights, ascent, judge, filters);
  std::map<float, std::map<int, double>> spreads;  // By how far apart the ascents begin.

  nlohmann::json report = {
      {"device", device}, {"weights", weights.name},     {"iterations", ascent.iterations},
      {"size", size},     {"gradient_size", probe_size}, {"precisions", nlohmann::json::array()}};
  bool faithful = true;
  for (const std::string& name : arguments["precisions"].as<std::vector<std::string>>()) {
    const Precision precision = parse_precision(name);
    ascent_options.precision = probe_options.precision = precision;
    fmt::print("\n## {} on {}\n", name, device);

    LayerErrors errors;
    for (const Probes& some : probes) add_errors(some, weights, ascent, probe_options, errors);
    nlohmann::json gradients = nlohmann::json::array();
    const bool good_gradients = judge_gradients(errors, precision, probe_size, gradients);

    const float apart = rounding(precision);
    if (!spreads.contains(apart)) {
      RenderOptions shaken = judge;
      shaken.initial_images = shaken_noise(ascent, judge, filters, apart);
      spreads[apart] = spread_of(render(weights, ascent, shaken, filters), expected);
    }
    nlohmann::json losses = nlohmann::json::array();
    const bool good_losses = judge_losses(compare_losses(render(weights, ascent, ascent_options, filters),
                                                         expected, spreads.at(apart), loss_limit(precision)),
                                          precision, ascent, size, losses);

    fmt::print("\n{}: gradients {}, losses {}\n", name, good_gradients ? "within limits" : "BEYOND LIMITS",
               good_losses ? "within limits" : "BEYOND LIMITS");
    std::cout.flush();
    faithful = faithful && good_gradients && good_losses;
    report["precisions"].push_back({{"precision", name},
                                    {"within_limits", good_gradients && good_losses},
                                    {"gradients", gradients},
                                    {"losses", losses}});
  }
  if (arguments.count("json") != 0)
    std::ofstream(arguments["json"].as<std::string>()) << report.dump(2) << '\n';
  return faithful ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace filterscope

int main(int argc, char** argv) {
  try {
    return filterscope::run(argc, argv);
  } catch (const filterscope::Error& error) {
    std::cerr << "fidelity: " << error.what() << '\n';
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "fidelity: " << error.what() << '\n';
    return 2;
  }
}
