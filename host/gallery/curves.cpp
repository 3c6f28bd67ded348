#include "curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/text.h"

namespace filterscope {
namespace {

constexpr int kWidth = 960;
constexpr int kHeight = 540;
constexpr int kLeft = 72, kRight = kWidth - 96, kTop = 98,
              kBottom = kHeight - 52;  ///< Edges of the curves' area.
constexpr int kNamed = 3;              ///< Filters whose numbers are next to their curves.
constexpr double kLabelGap = 16;       ///< Between the baselines of neighbouring numbers.

constexpr std::string_view kStyle = R"(
text { font: 13px system-ui, sans-serif; fill: #555b66; }
.title { font-size: 19px; font-weight: 600; fill: #1b1d21; }
.ground { fill: #fff; }
.rule { stroke: #d8dbe0; }
.curves { fill: none; stroke: #1558c0; stroke-width: 1.2; }
.curves .dead { stroke: #c8281f; }
.median { fill: none; stroke: #1b1d21; stroke-width: 2.5; }
.name { fill: #1b1d21; }
.badge { fill: #f5b43c; }
.warning { fill: #181408; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #b2b7c0; }
  .title, .name { fill: #f0f0f2; }
  .ground { fill: #18191c; }
  .rule { stroke: #3e4147; }
  .curves { stroke: #8ab4ff; }
  .curves .dead { stroke: #ff8078; }
  .median { stroke: #f0f0f2; }
  .warning { fill: #181408; }
}
)";

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char character : text) {
    switch (character) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      default:  // XML allows no control characters, but names may have them.
        safe += static_cast<unsigned char>(character) < 0x20 ? '?' : character;
    }
  }
  return safe;
}

std::string loss_text(float loss) {
  return std::isfinite(loss) ? fmt::format("{:.4g}", loss) : "not finite";
}

/// About five round numbers from 0 to `high`.
std::vector<double> ticks(double high) {
  if (!(high > 0)) return {0};
  const double power = std::pow(10, std::floor(std::log10(high / 5)));
  double step = power;
  for (const double factor : {2., 5., 10.})
    if (step < high / 5) step = factor * power;
  std::vector<double> values;
  for (int i = 0; i * step <= high * (1 + 1e-9); ++i) values.push_back(i * step);
  return values;
}

/// The points that are drawn: thinned evenly to kCurvePoints, without values that are not finite.
std::vector<CurvePoint> shown(const std::vector<CurvePoint>& curve) {
  std::vector<CurvePoint> some;
  const std::size_t count = std::min(curve.size(), kCurvePoints);
  for (std::size_t i = 0; i < count; ++i) {
    const CurvePoint& point = curve[count == 1 ? 0 : i * (curve.size() - 1) / (count - 1)];
    if (std::isfinite(point.loss)) some.push_back(point);
  }
  return some;
}

class Axes {
 public:
  Axes(int last_step, float highest)
      : last_step_(std::max(last_step, 1)), top_(highest > 0 ? 1.04 * highest : 1) {}

  double x(int steps) const { return kLeft + static_cast<double>(kRight - kLeft) * steps / last_step_; }
  double y(double loss) const { return kBottom - (kBottom - kTop) * loss / top_; }

  std::string path(const std::vector<CurvePoint>& curve) const {
    std::string text;
    for (const CurvePoint& point : curve)
      fmt::format_to(std::back_inserter(text), "{}{:.1f} {:.1f}", text.empty() ? 'M' : 'L', x(point.steps),
                     y(point.loss));
    return text;
  }

  std::string draw() const {
    std::string text;
    for (const double loss : ticks(top_))
      fmt::format_to(std::back_inserter(text),
                     "<line class=\"rule\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
                     "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.6g}</text>\n",
                     kLeft, kRight, y(loss), y(loss), kLeft - 8, y(loss) + 4, loss);
    for (const double step : ticks(last_step_))
      if (step == std::floor(step))
        fmt::format_to(std::back_inserter(text),
                       "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>\n",
                       x(static_cast<int>(step)), kBottom + 20, step);
    fmt::format_to(
        std::back_inserter(text),
        "<text x=\"{}\" y=\"{}\">loss</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">steps</text>\n",
        kLeft, kTop - 12, kRight, kBottom + 40);
    return text;
  }

 private:
  int last_step_;
  double top_;  ///< Loss at the upper edge.
};

/// The median of the losses at each step that most of the curves have.
std::vector<CurvePoint> median_of(const std::vector<std::vector<CurvePoint>>& curves) {
  std::map<int, std::vector<float>> losses;
  for (const auto& curve : curves)
    for (const CurvePoint& point : curve) losses[point.steps].push_back(point.loss);
  std::size_t most = 0;
  for (const auto& [steps, values] : losses) most = std::max(most, values.size());
  std::vector<CurvePoint> median;
  for (auto& [steps, values] : losses) {
    if (2 * values.size() < most) continue;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    median.push_back({steps, *middle});
  }
  return median;
}

/// The numbers of the filters with the highest final losses, at the ends of their curves, without overlaps.
std::string names_of(const Axes& axes, std::span<const FilterRecord> filters) {
  std::vector<const FilterRecord*> highest;
  for (const FilterRecord& entry : filters)
    if (entry.status && is_alive(*entry.status) && std::isfinite(entry.final_loss)) highest.push_back(&entry);
  std::ranges::stable_sort(highest, std::ranges::greater{}, &FilterRecord::final_loss);
  if (highest.size() > kNamed) highest.resize(kNamed);
  std::string text;
  double above = -kLabelGap;
  for (const FilterRecord* entry : highest) {
    above = std::max(above + kLabelGap, axes.y(entry->final_loss) + 4);
    fmt::format_to(std::back_inserter(text),
                   "<text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\">{} ({:.4g})</text>\n",
                   axes.x(entry->iterations) + 6, above, entry->id.filter, entry->final_loss);
  }
  return text;
}

}  // namespace

std::vector<CurvePoint> loss_curve(const StoredRun& run, std::size_t row) {
  const FilterRecord& record = run.manifest.filters[row];
  std::vector<CurvePoint> curve;
  if (!record.status) return curve;
  curve.push_back({0, record.first_loss});
  for (const TracePoint& point : run.traces[row])
    if (point.iteration > 1 && point.iteration <= record.iterations)
      curve.push_back({point.iteration - 1, point.loss});
  if (record.iterations > 0) curve.push_back({record.iterations, record.final_loss});
  return curve;
}

std::string draw_curves(const StoredRun& run, std::size_t first, std::size_t count) {
  const Manifest& manifest = run.manifest;
  const std::span filters = std::span(manifest.filters).subspan(first, count);
  std::vector<std::vector<CurvePoint>> curves;
  std::vector<std::vector<CurvePoint>> living;
  int last_step = 0;
  float highest = 0;
  std::size_t rescued = 0, dead = 0, missing = 0;
  for (std::size_t i = 0; i < count; ++i) {
    curves.push_back(shown(loss_curve(run, first + i)));
    missing += !filters[i].status;
    rescued += filters[i].status == FilterStatus::rescued;
    dead += filters[i].status == FilterStatus::dead;
    if (filters[i].status && is_alive(*filters[i].status)) living.push_back(curves.back());
    for (const CurvePoint& point : curves.back()) {
      last_step = std::max(last_step, point.steps);
      highest = std::max(highest, point.loss);
    }
  }
  const Axes axes(last_step, highest);
  const std::string& layer =
      manifest.network.convolutions[static_cast<std::size_t>(filters.front().id.layer)].name;

  std::string summary = counted(std::ssize(filters), "filter");
  if (rescued > 0) summary += fmt::format(", {} rescued", rescued);
  if (dead > 0) summary += fmt::format(", {} dead (red)", dead);
  if (missing > 0) summary += fmt::format(", {} missing", missing);
  summary += "; the median is thick; " + escaped(recipe_text(manifest));

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\" "
      "aria-label=\"Losses of {2} {3}\">\n<style>{4}</style>\n<rect class=\"ground\" width=\"{0}\" "
      "height=\"{1}\"/>\n"
      "<text class=\"title\" x=\"20\" y=\"32\">{2} {3}: losses</text>\n<text x=\"20\" y=\"54\">{5}</text>\n",
      kWidth, kHeight, manifest.network.name, layer, kStyle, summary);
  if (manifest.weights.kind == WeightsKind::synthetic) {
    fmt::format_to(
        std::back_inserter(svg),
        "<rect class=\"badge\" x=\"{0}\" y=\"12\" width=\"170\" height=\"26\" rx=\"4\"/>"
        "<text class=\"warning\" x=\"{1}\" y=\"30\" text-anchor=\"middle\">Synthetic weights</text>\n",
        kWidth - 190, kWidth - 105);
  }
  svg += axes.draw();
  // The more lines, the fainter they are, so that dense regions remain visible.
  fmt::format_to(std::back_inserter(svg), "<g class=\"curves\" stroke-opacity=\"{:.2f}\">\n",
                 std::clamp(4 / std::sqrt(static_cast<double>(curves.size())), .2, .9));
  for (std::size_t i = 0; i < curves.size(); ++i) {
    if (curves[i].empty()) continue;
    // A dead filter's loss does not change, so its curve is extended over the whole width.
    std::vector<CurvePoint> curve = curves[i];
    if (filters[i].status == FilterStatus::dead) curve.push_back({last_step, curve.back().loss});
    fmt::format_to(std::back_inserter(svg), "<path{} d=\"{}\"><title>{}: {} to {}</title></path>\n",
                   filters[i].status == FilterStatus::dead ? " class=\"dead\"" : "", axes.path(curve),
                   filters[i].id.filter, loss_text(filters[i].first_loss), loss_text(filters[i].final_loss));
  }
  svg += "</g>\n";
  if (living.size() > 2)
    fmt::format_to(std::back_inserter(svg), "<path class=\"median\" d=\"{}\"/>\n",
                   axes.path(median_of(living)));
  return svg + names_of(axes, filters) + "</svg>\n";
}

}  // namespace filterscope
