#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "host/ascent/recipe.h"
#include "host/model/network.h"
#include "host/model/weights/weights.h"
#include "host/run/filter_result.h"
#include "host/run/render_options.h"
#include "host/run/selection.h"

/// Final losses of ascents: those of the CPU engine, computed or read from a file, and the errors of another
/// engine's.
namespace filterscope::fidelity {

using Results = std::map<FilterId, FilterResult>;

Results render(const Weights& weights, const Recipe& recipe, const RenderOptions& options,
               const std::vector<FilterId>& filters);

/// Draws `per_layer` filters of each layer that can be rendered, ascending; the same in every run.
std::vector<FilterId> draw(const Network& network, const Weights& weights, int per_layer);

/// The start images of filters, with each value changed by `relative`, up or down.
InitialImages shaken_noise(const Recipe& recipe, const RenderOptions& options,
                           const std::vector<FilterId>& filters, float relative);

/// The relative size of one rounding; in fp32, of two.
float rounding(Precision precision);

/// The CPU engine's final losses of some filters, and their sensitivity. An ascent that ends elsewhere after
/// the smallest change says nothing about rounding, so each is repeated from start images that are a rounding
/// apart.
struct ExpectedLosses {
  static constexpr std::array<float, 4> kRoundings{0x1p-23f, 0x1p-22f, 0x1p-11f, 0x1p-8f};
  struct Loss {
    float loss = 0;                                 ///< 0 if the filter is dead.
    std::array<float, kRoundings.size()> shaken{};  ///< From start images changed by kRoundings[i].
  };

  int iterations = 0;
  int size = 0;  ///< Height and width of the images.
  std::string weights;
  std::vector<double> kernel_norms;  ///< L2 norms by layer, which identify the weights.
  std::map<FilterId, Loss> losses;

  std::vector<FilterId> filters() const;
  /// By layer, the largest relative difference caused by changes of the start image of at most `rounding`. A
  /// single change says little: among few filters, there may be none whose ascent is decided by a nearly tied
  /// ReLU.
  std::map<int, double> spreads(float rounding) const;
};

/// Computes the losses on the CPU engine, for roundings of at most `largest_rounding`; the others' losses are
/// NaN.
ExpectedLosses compute_expected(const Weights& weights, const Recipe& recipe,
                                const std::vector<FilterId>& filters, float largest_rounding);

/// Whether the losses were computed with `weights`, up to a rounding of the weights.
bool belong_to(const Weights& weights, const ExpectedLosses& expected);
/// Whether every weight is representable in IEEE binary16, as in a file with 16-bit weights.
bool are_float16(const Weights& weights);

/// Writes one filter per line, so that changes are easy to see.
void write_expected(const ExpectedLosses& expected, const std::filesystem::path& path);
/// Throws an input Error that names the file.
ExpectedLosses read_expected(const std::filesystem::path& path);

double relative_error(float found, float expected);

/// The filters of one layer.
struct LossRow {
  std::vector<double> errors;  ///< Ascending.
  double spread = 0;
  int within = 0;  ///< Filters whose final loss is within the limit, or within kSpreads spreads.
  int rescued = 0;
  int dead = 0;
  int dead_expected = 0;
  bool same_dead = true;  ///< Whether the same filters are dead.

  double median() const { return errors.empty() ? 0 : errors[errors.size() / 2]; }
  double worst() const { return errors.empty() ? 0 : errors.back(); }
};

/// The number of spreads that are allowed if they exceed the limit.
constexpr double kSpreads = 3;

std::map<int, LossRow> compare_losses(const Results& found, const ExpectedLosses& expected,
                                      const std::map<int, double>& spreads, double limit);

}  // namespace filterscope::fidelity
