// How faithful an engine is in each precision: one gradient step of every layer against double precision, and
// final losses of whole ascents against the CPU engine's fp32.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cxxopts.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/engine.h"
#include "host/error.h"
#include "host/philox.h"
#include "tests/support/random_network.h"
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

// Long enough that the image moves far beyond its own rounding: what it moved by is the gradient's direction.
constexpr float kProbeStep = 1000.f;

struct Limits {
  double gradient;  // Relative error, L2 over the image.
  double loss;      // Relative error of the final loss.
};

Limits limits_of(Precision precision) {
  switch (precision) {
    case Precision::tf32:
      return {2e-3, 1e-2};
    case Precision::fp16:
      return {5e-3, 1e-2};
    case Precision::bf16:
      return {2e-2, 1e-2};
    case Precision::automatic:
    case Precision::fp32:
      break;
  }
  return {1e-5, 1e-3};
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

// What the program's gradient and double precision's differ by, relative; 0 for a filter dead in both.
double gradient_error(const FilterResult& result, const Weights& weights, const Recipe& recipe,
                      const RenderOptions& options) {
  const std::vector<float> start = reference::noise_image(recipe.initial_image, options.seed, result.id.layer,
                                                          result.id.filter, options.extent);
  const reference::Gradient expected =
      reference::loss_and_gradient(vgg16(), weights, recipe.input_mapping, result.id.layer, result.id.filter,
                                   reference::Map(options.extent, 3, start));
  if (result.status != FilterStatus::ok) return expected.norm() == 0 ? 0 : 1;
  std::vector<double> gradient(start.size());
  for (std::size_t i = 0; i < start.size(); ++i) {
    gradient[i] = (static_cast<double>(result.image[i]) - start[i]) / kProbeStep * result.gradient_norm;
  }
  return test::l2_relative_error(gradient, expected.gradient.values);
}

struct Row {
  std::string layer;
  double gradient_error = 0;  // Worst of the layer's filters.
  double median_loss_error = 0;
  double worst_loss_error = 0;
  int within = 0;  // Filters whose final loss is within the limit.
  int filters = 0;
  int dead = 0;
  int dead_expected = 0;
};

int run(int argc, char** argv) {
  cxxopts::Options options(
      "fidelity",
      "Errors of an engine's precisions: one gradient step of every layer against double "
      "precision, and final losses against the CPU engine's.");
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

  Recipe probe = ascent;
  probe.iterations = 1;
  probe.optimiser.step = kProbeStep;
  RenderOptions probe_options;
  const int probe_size = arguments["gradient-size"].as<int>();
  probe_options.extent = {probe_size, probe_size};
  probe_options.keep_images = true;
  const std::vector<FilterId> probes = draw(network, weights, arguments["gradients"].as<int>());

  RenderOptions judge = ascent_options;
  judge.device = "cpu";
  const Results expected = render(weights, ascent, judge, filters);

  nlohmann::json report = {
      {"device", device}, {"weights", weights.name},     {"iterations", ascent.iterations},
      {"size", size},     {"gradient_size", probe_size}, {"precisions", nlohmann::json::array()}};
  bool faithful = true;
  for (const std::string& name : arguments["precisions"].as<std::vector<std::string>>()) {
    const Precision precision = parse_precision(name);
    const Limits limits = limits_of(precision);
    ascent_options.device = probe_options.device = device;
    ascent_options.precision = probe_options.precision = precision;
    std::map<int, Row> rows;
    for (const auto& [id, result] : render(weights, probe, probe_options, probes)) {
      Row& row = rows[id.layer];
      row.gradient_error =
          std::max(row.gradient_error, gradient_error(result, weights, probe, probe_options));
    }
    std::map<int, std::vector<double>> errors;
    for (const auto& [id, result] : render(weights, ascent, ascent_options, filters)) {
      const FilterResult& reference = expected.at(id);
      Row& row = rows[id.layer];
      ++row.filters;
      row.dead += result.status == FilterStatus::dead ? 1 : 0;
      row.dead_expected += reference.status == FilterStatus::dead ? 1 : 0;
      const double error =
          reference.final_loss == result.final_loss
              ? 0
              : std::abs(result.final_loss - reference.final_loss) / std::abs(reference.final_loss);
      row.within += error <= limits.loss ? 1 : 0;
      errors[id.layer].push_back(error);
    }
    fmt::print(
        "\n{} on {}: gradient against double precision at {} x {} (limit {:g}), final loss against the CPU "
        "engine "
        "after {} iterations at {} x {} (limit {:g} for 99 % of filters)\n\n",
        name, device, probe_size, probe_size, limits.gradient, ascent.iterations, size, size, limits.loss);
    fmt::print(
        "| layer | gradient error | loss error, median | worst | within | dead, expected "
        "|\n|---|---|---|---|---|---|\n");
    nlohmann::json layers = nlohmann::json::array();
    int within = 0;
    double worst_gradient = 0;
    bool same_dead = true;
    for (auto& [layer, row] : rows) {
      row.layer = network.convolutions[layer].name;
      std::vector<double>& of_layer = errors[layer];
      std::ranges::sort(of_layer);
      if (!of_layer.empty()) {
        row.median_loss_error = of_layer[of_layer.size() / 2];
        row.worst_loss_error = of_layer.back();
      }
      fmt::print("| {} | {:.2e} | {:.2e} | {:.2e} | {} of {} | {}, {} |\n", row.layer, row.gradient_error,
                 row.median_loss_error, row.worst_loss_error, row.within, row.filters, row.dead,
                 row.dead_expected);
      layers.push_back({{"layer", row.layer},
                        {"gradient_error", row.gradient_error},
                        {"median_loss_error", row.median_loss_error},
                        {"worst_loss_error", row.worst_loss_error},
                        {"within", row.within},
                        {"filters", row.filters},
                        {"dead", row.dead},
                        {"dead_expected", row.dead_expected}});
      within += row.within;
      worst_gradient = std::max(worst_gradient, row.gradient_error);
      same_dead = same_dead && row.dead == row.dead_expected;
    }
    const bool good = worst_gradient <= limits.gradient &&
                      within >= 0.99 * static_cast<double>(filters.size()) &&
                      (same_dead || precision != Precision::fp32);
    fmt::print("\n{}: {}\n", name, good ? "within its limits" : "BEYOND ITS LIMITS");
    faithful = faithful && good;
    report["precisions"].push_back({{"precision", name}, {"within_limits", good}, {"layers", layers}});
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
