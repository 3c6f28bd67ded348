#include <filterscope/filterscope.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

class Collector : public filterscope::RenderObserver {
 public:
  void on_finished(filterscope::FilterResult result) override { results.push_back(std::move(result)); }
  void on_progress(std::int64_t steps) override { total_steps += steps; }
  void on_loss(filterscope::FilterId, filterscope::TracePoint) override {}

  std::vector<filterscope::FilterResult> results;
  std::int64_t total_steps = 0;
};

}  // namespace

int main() {
  try {
    const filterscope::Network& network = filterscope::vgg16();
    const filterscope::Weights weights = filterscope::synthetic_weights(network);
    filterscope::Recipe recipe = filterscope::find_recipe("seed");
    recipe.stages.front().extent = {32, 32};
    recipe.stages.front().iterations = 2;
    filterscope::RenderOptions options;
    options.device = "cpu";
    const auto renderer = filterscope::make_renderer(network, weights, recipe, options);
    Collector collector;
    const std::vector<std::string> selectors{"block1_conv2:3"};
    renderer->render(filterscope::parse_selection(selectors, network, 0), collector, {});
    if (collector.results.size() != 1 || collector.total_steps != 2) return 1;
    const filterscope::FilterResult& result = collector.results.front();
    std::printf("filterscope %s: block1_conv2/%d, loss %g\n", std::string(filterscope::kVersion).c_str(),
                result.id.filter, static_cast<double>(result.final_loss));
    return std::isfinite(result.final_loss) && result.picture.size() == 32 * 32 * 3 ? 0 : 1;
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "%s\n", exception.what());
    return 1;
  }
}
