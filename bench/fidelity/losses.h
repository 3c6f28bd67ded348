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
#include "host/run/render_options.h"
#include "host/run/selection.h"

/// Final losses of ascents: what the CPU engine's are, computed or read from a file, and how far those of
/// another engine are off.
namespace filterscope::fidelity {

using Results = std::map<FilterId, FilterResult>;

Results render(const Weights& weights, const Recipe& recipe, const RenderOptions& options,
               const std::vector<FilterId>& filters);

/// `per_layer` filters of each layer that can be rendered, ascending; all runs of a program draw the same.
std::vector<FilterId> draw(const Network& network, const Weights& weights, int per_layer);

/// The start images of filters, each value off by `relative` one way or the other.
InitialImages shaken_noise(const Recipe& recipe, const RenderOptions& options,
                           const std::vector<FilterId>& filters, float relative);

/// One rounding, relative; in fp32 two.
float rounding(Precision precision);

/// The CPU engine's final losses of some filters, and how much they say. An ascent that ends elsewhere after
/// the smallest of changes is no measure of rounding, so each is repeated from start images that are a
/// rounding apart.
struct ExpectedLosses {
  static constexpr std::array<float, 4> kRoundings{0x1p-23f, 0x1p-22f, 0x1p-11f, 0x1p-8f};
  struct Loss {
    float loss = 0;                                 ///< 0: dead.
    std::array<float, kRoundings.size()> shaken{};  ///< From starts that are kRoundings[i] off.
  };

  int iterations = 0;
  int size = 0;  ///< Height and width of the images.
  std::string weights;
  std::vector<double> kernel_norms;  ///< By layer: L2. Tell which training the weights come from.
  std::map<FilterId, Loss> losses;

  std::vector<FilterId> filters() const;
  /// By layer: the largest relative difference that changes of the start by at most `rounding` made. A single
  /// change tells little: among few filters it may meet none whose ascent a nearly tied ReLU decides.
  std::map<int, double> spreads(float rounding) const;
};

/// On the CPU engine. Of the roundings those of at most `largest_rounding` are computed; the others' losses
/// are NaN.
ExpectedLosses compute_expected(const Weights& weights, const Recipe& recipe, int size,
                                const std::vector<FilterId>& filters, float largest_rounding);

/// Whether `weights` are those that the losses are of, up to a rounding of the weights.
bool belong_to(const Weights& weights, const ExpectedLosses& expected);
/// Whether every weight is a number of IEEE binary16, as in a file that was made small.
bool are_float16(const Weights& weights);

/// A filter to a line, so that a change shows as one.
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
  bool same_dead = true;  ///< The same filters.

  double median() const { return errors.empty() ? 0 : errors[errors.size() / 2]; }
  double worst() const { return errors.empty() ? 0 : errors.back(); }
};

/// So many spreads are allowed where that is more than the limit.
constexpr double kSpreads = 3;

std::map<int, LossRow> compare_losses(const Results& found, const ExpectedLosses& expected,
                                      const std::map<int, double>& spreads, double limit);

}  // namespace filterscope::fidelity
