#include "losses.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/ascent/operations/start.h"
#include "host/base/error.h"
#include "host/devices/devices.h"
#include "kernels/common/philox.h"

namespace filterscope::fidelity {

namespace {

class Collector final : public RenderObserver {
 public:
  void on_finished(FilterResult result) override { results.emplace(result.id, std::move(result)); }
  void on_progress(std::int64_t) override {}
  void on_loss(FilterId, TracePoint) override {}

  Results results;
};

std::vector<double> kernel_norms_of(const Weights& weights) {
  std::vector<double> norms;
  for (const auto& layer : weights.layers) {
    double squares = 0;
    if (layer) {
      for (const float value : layer->kernel) squares += double{value} * value;
    }
    norms.push_back(std::sqrt(squares));
  }
  return norms;
}

bool is_float16(float value) {
  constexpr float kLargest = 65504;
  constexpr int kSmallestExponent = -24;
  constexpr int kBits = 11;
  int exponent = 0;
  std::frexp(value, &exponent);
  const float unit = std::ldexp(1.f, std::max(exponent - kBits, kSmallestExponent));
  return std::abs(value) <= kLargest && std::remainder(value, unit) == 0;
}

}  // namespace

Results render(const Weights& weights, const Recipe& recipe, const RenderOptions& options,
               const std::vector<FilterId>& filters) {
  Collector collector;
  make_renderer(vgg16(), weights, recipe, options)->render(filters, collector, {});
  return std::move(collector.results);
}

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

InitialImages shaken_noise(const Recipe& recipe, const RenderOptions& options,
                           const std::vector<FilterId>& filters, float relative) {
  const Extent extent = recipe.first().extent;
  const std::size_t size = extent.positions() * 3;
  InitialImages images{.values = std::vector<float>(filters.size() * size),
                       .count = static_cast<int>(filters.size()),
                       .extent = extent};
  for (std::size_t i = 0; i < filters.size(); ++i) {
    const auto image = std::span(images.values).subspan(i * size, size);
    draw_start(recipe.first().start, options.seed, filters[i], image);
    for (std::size_t at = 0; at < size; ++at) {
      const auto word = random_block(0, RandomStream::selection, static_cast<std::uint32_t>(i), 1,
                                     static_cast<std::uint32_t>(at))[0];
      image[at] *= 1 + (word % 2 == 0 ? relative : -relative);
    }
  }
  return images;
}

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
  return 0x1p-22f;
}

double relative_error(float found, float expected) {
  if (found == expected) return 0;
  const double error = std::abs(found - expected) / std::abs(expected);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

std::vector<FilterId> ExpectedLosses::filters() const {
  std::vector<FilterId> ids;
  for (const auto& [id, loss] : losses) ids.push_back(id);
  return ids;
}

std::map<int, double> ExpectedLosses::spreads(float rounding) const {
  std::map<int, double> spreads;
  for (const auto& [id, loss] : losses) {
    double& most = spreads[id.layer];
    for (std::size_t i = 0; i < kRoundings.size(); ++i) {
      // A filter that is dead in either ascent says nothing about the difference of losses.
      if (kRoundings[i] <= rounding && loss.loss > 0 && loss.shaken[i] > 0)
        most = std::max(most, relative_error(loss.shaken[i], loss.loss));
    }
  }
  return spreads;
}

ExpectedLosses compute_expected(const Weights& weights, const Recipe& recipe,
                                const std::vector<FilterId>& filters, float largest_rounding) {
  RenderOptions options;
  options.device = "cpu";
  ExpectedLosses expected{.iterations = recipe.iterations(),
                          .size = recipe.last().extent.height,
                          .weights = weights.name,
                          .kernel_norms = kernel_norms_of(weights),
                          .losses = {}};
  for (const auto& [id, result] : render(weights, recipe, options, filters)) {
    expected.losses[id].loss = result.status == FilterStatus::dead ? 0 : result.final_loss;
    expected.losses[id].shaken.fill(std::numeric_limits<float>::quiet_NaN());
  }
  for (std::size_t i = 0; i < ExpectedLosses::kRoundings.size(); ++i) {
    const float apart = ExpectedLosses::kRoundings[i];
    if (apart > largest_rounding) continue;
    options.initial_images = shaken_noise(recipe, options, filters, apart);
    for (const auto& [id, result] : render(weights, recipe, options, filters))
      expected.losses[id].shaken[i] = result.final_loss;
  }
  return expected;
}

bool belong_to(const Weights& weights, const ExpectedLosses& expected) {
  constexpr double kRoundedWeights = 1e-3;
  const std::vector<double> norms = kernel_norms_of(weights);
  return std::ranges::equal(norms, expected.kernel_norms, [](double found, double wanted) {
    return std::abs(found - wanted) <= kRoundedWeights * wanted;
  });
}

bool are_float16(const Weights& weights) {
  return std::ranges::all_of(weights.layers, [](const auto& layer) {
    return !layer ||
           (std::ranges::all_of(layer->kernel, is_float16) && std::ranges::all_of(layer->bias, is_float16));
  });
}

void write_expected(const ExpectedLosses& expected, const std::filesystem::path& path) {
  const auto json = [](const auto& value) { return nlohmann::json(value).dump(); };
  std::ofstream file(path);
  file << fmt::format("{{\"weights\": {},\n \"iterations\": {}, \"size\": {},\n \"kernel_norms\": {},\n",
                      json(expected.weights), expected.iterations, expected.size,
                      json(expected.kernel_norms));
  file << fmt::format(" \"roundings\": {},\n \"losses\": [", json(ExpectedLosses::kRoundings));
  const char* separator = "\n";
  for (const auto& [id, loss] : expected.losses) {
    const std::string& layer = vgg16().convolutions[id.layer].name;
    file << separator << fmt::format("  [\"{}\", {}, {}", layer, id.filter, loss.loss);
    for (const float shaken : loss.shaken) {
      if (!std::isfinite(shaken) || !std::isfinite(loss.loss))
        throw Error(ErrorKind::input,
                    fmt::format("weights {}: expected finite final losses to compare with, found one of "
                                "{}:{} that is not",
                                expected.weights, layer, id.filter));
      file << fmt::format(", {}", shaken);
    }
    file << "]";
    separator = ",\n";
  }
  file << "\n]}\n";
  if (!file.flush())
    throw Error(ErrorKind::output, fmt::format("{}: the file cannot be written", path.string()));
}

ExpectedLosses read_expected(const std::filesystem::path& path) {
  const auto refuse = [&](std::string_view found) {
    return Error(ErrorKind::input,
                 fmt::format("--expected {}: expected a file written by --write-expected, found {}",
                             path.string(), found));
  };
  std::ifstream file(path);
  if (!file) throw refuse("none that can be opened");
  try {
    const nlohmann::json json = nlohmann::json::parse(file);
    if (json.at("roundings") != nlohmann::json(ExpectedLosses::kRoundings)) throw refuse("other roundings");
    ExpectedLosses expected{.iterations = json.at("iterations"),
                            .size = json.at("size"),
                            .weights = json.at("weights"),
                            .kernel_norms = json.at("kernel_norms"),
                            .losses = {}};
    for (const nlohmann::json& row : json.at("losses")) {
      const auto layer = vgg16().find(row.at(0).get<std::string>());
      if (!layer) throw refuse("a layer " + row.at(0).dump());
      ExpectedLosses::Loss& loss = expected.losses[{*layer, row.at(1)}];
      loss.loss = row.at(2);
      for (std::size_t i = 0; i < loss.shaken.size(); ++i) loss.shaken[i] = row.at(3 + i);
    }
    return expected;
  } catch (const nlohmann::json::exception& exception) {
    throw refuse(exception.what());
  }
}

std::map<int, LossRow> compare_losses(const Results& found, const ExpectedLosses& expected,
                                      const std::map<int, double>& spreads, double limit) {
  std::map<int, LossRow> rows;
  for (const auto& [id, result] : found) {
    const float loss = expected.losses.at(id).loss;
    LossRow& row = rows[id.layer];
    row.spread = spreads.at(id.layer);
    const bool dead = result.status == FilterStatus::dead;
    row.rescued += result.status == FilterStatus::rescued ? 1 : 0;
    row.dead += dead ? 1 : 0;
    row.dead_expected += loss == 0 ? 1 : 0;
    row.same_dead = row.same_dead && dead == (loss == 0);
    const double error = relative_error(result.final_loss, loss);
    row.within += error <= std::max(limit, kSpreads * row.spread) ? 1 : 0;
    row.errors.push_back(error);
  }
  for (auto& [layer, row] : rows) std::ranges::sort(row.errors);
  return rows;
}

}  // namespace filterscope::fidelity
