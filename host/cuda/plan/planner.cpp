#include "planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "../../base/error.h"
#include "../check.h"
#include "../native_convolution.h"
#include "../runtime.h"
#include "convolution_trial.h"

namespace filterscope::cuda {

namespace {

// A variant that takes this much longer than the best so far is not timed again.
constexpr double kCutoffFactor = 1.5;
// The share of a plan's use that making it may take.
constexpr double kTimingShare = 0.1;
// The time that compiling a kernel may take; nothing is compiled if less is left.
constexpr double kCompilingSeconds = 2;
// In one timed launch: enough for many waves of blocks, milliseconds at most.
constexpr double kTimedOperations = 1e12;
constexpr double kTimedFirstLayerPositions = 512. * 96 * 96;
constexpr std::string_view kNotice = "Timing kernels on this device; later runs reuse the timings.";
// Stands for an unknown time, so that timed variants are preferred.
constexpr double kUntimed = 1e30;

double operations_of(const ConvolutionProblem& problem) {
  return 2. * 9 * problem.images * problem.height * problem.width * problem.in_channels *
         problem.out_channels;
}

double operations_of(const FirstLayerProblem& problem) {
  return 2. * 9 * 3 * static_cast<double>(problem.map_size());
}

// The key under which it is stored, as a timing, that a kernel broke the device.
std::string broken_key(const std::string& kernel) {
  return "broke the device: " + kernel;
}

// The number of images to time: a power of two, or 1.5 times one, not above `images` and `most`.
int timed_images(int images, double most) {
  const int limit = static_cast<int>(std::clamp(most, 1., static_cast<double>(images)));
  int timed = 1;
  while (2 * timed <= limit) timed *= 2;
  return timed + timed / 2 <= limit ? timed + timed / 2 : timed;
}

// The variants of `problem` by `source`, with separate passes for a pool or a mask that it does not fuse.
std::vector<std::unique_ptr<ConvolutionVariant>> offers(const ConvolutionSource& source,
                                                        const ConvolutionProblem& problem, PlanSearch search,
                                                        const TimingBudget& has_time = {}) {
  std::vector<std::unique_ptr<ConvolutionVariant>> variants = source(problem, search, has_time);
  if (problem.pooled && variants.empty()) {
    ConvolutionProblem without_pool = problem;
    without_pool.pooled = false;
    for (auto& variant : offers(source, without_pool, search, has_time))
      variants.push_back(with_pool(std::move(variant)));
    return variants;
  }
  if (problem.mask == MaskFormat::none || problem.mask == MaskFormat::bytes) return variants;
  const auto with = [&](MaskFormat mask) {
    ConvolutionProblem other = problem;
    other.mask = mask;
    return source(other, search, has_time);
  };
  // A pass over activations is only for sources that fuse neither them nor bits, which are less to read.
  const bool reads_activation =
      problem.mask == MaskFormat::activation && problem.direction == Direction::dgrad;
  if (reads_activation ? !with(MaskFormat::bits).empty() : !variants.empty()) return variants;
  for (auto& variant : with(MaskFormat::none))
    variants.push_back(with_mask(std::move(variant), problem.mask));
  return variants;
}

}  // namespace

Planner::Planner(const Network& network, Precision precision, PlanRule rule,
                 std::vector<ConvolutionSource> sources, Timings timings)
    : network_(network),
      precision_(precision),
      rule_(rule),
      sources_(std::move(sources)),
      timings_(std::move(timings)) {}

Timings::Measure Timings::time_on_device(const ConvolutionProblem& problem) {
  return [timer = std::make_shared<ConvolutionTrial>(problem)](ConvolutionVariant& variant, double cutoff) {
    return timer->milliseconds(variant, cutoff);
  };
}

Timings::MeasureFirstLayer Timings::time_first_layer_on_device(const FirstLayerProblem& problem) {
  return [timer = std::make_shared<FirstLayerTrial>(problem)](std::string_view kernel, double cutoff) {
    return timer->milliseconds(kernel, cutoff);
  };
}

double Timings::steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ConvolutionProblem timed_problem(ConvolutionProblem problem) {
  const int images = std::exchange(problem.images, 1);
  problem.images = timed_images(images, kTimedOperations / operations_of(problem));
  return problem;
}

FirstLayerProblem timed_problem(FirstLayerProblem problem) {
  problem.images = timed_images(problem.images, kTimedFirstLayerPositions / (problem.height * problem.width));
  return problem;
}

Plan Planner::make(const BatchLayout& layout, Extent image, const PlanUse& use) {
  image_ = image;
  FirstLayerProblem first_layer{.images = layout.continuing_past(0),
                                .height = image_.height,
                                .width = image_.width,
                                .channels = network_.convolutions[0].out_channels,
                                .precision = precision_};
  operations_ = 2 * operations_of(first_layer);
  for (int layer = 1; layer <= layout.deepest_layer(); ++layer) {
    const Convolution& convolution = network_.convolutions[layer];
    operations_ += 2 * 2. * 9 * layout.continuing_past(layer) *
                   static_cast<double>(network_.map_extent(layer, image_).positions()) *
                   convolution.in_channels * convolution.out_channels;
  }
  fastest_ = 0;
  started_ = timings_.now();
  refused_.clear();
  found_wrong_ = false;
  Plan plan = attempt(layout, use, rule_ == PlanRule::fixed ? PlanSearch::untimed : PlanSearch::ready_made);
  while (rule_ == PlanRule::timed) {
    if (seconds_left(use) >= kCompilingSeconds) plan = attempt(layout, use, PlanSearch::compiled);
    if (!std::exchange(found_wrong_, false) && can_have(plan)) break;
    plan = attempt(layout, use, PlanSearch::ready_made);
  }
  if (layout.continuing_past(0) > 0) {
    plan.first_layer_fprop = choose_first_layer(first_layer, use);
    first_layer.direction = Direction::dgrad;
    plan.first_layer_dgrad = choose_first_layer(first_layer, use);
  }
  return plan;
}

double Planner::seconds_left(const PlanUse& use) const {
  if (use.stop.stop_requested()) return -1;
  if (fastest_ == 0) return std::numeric_limits<double>::infinity();  // Nothing has been timed yet.
  return kTimingShare * operations_ * static_cast<double>(use.iterations) / fastest_ -
         (timings_.now() - started_);
}

// Variants are chosen by timings of fewer images. Those that turn out not to be available for all images are
// refused from now on.
bool Planner::can_have(Plan& plan) {
  bool all = true;
  for (Plan::Layer& layer : plan.layers) {
    for (const auto* variant : {&layer.fprop, &layer.dgrad}) {
      if (!*variant || (*variant)->make_ready()) continue;
      refused_.insert(to_string((*variant)->problem()) + ": " + (*variant)->name());
      all = false;
    }
  }
  return all;
}

Plan Planner::attempt(const BatchLayout& layout, const PlanUse& use, PlanSearch search) {
  const int layers = layout.deepest_layer() + 1;
  Plan plan{layout, image_, std::vector<Plan::Layer>(layers), {}, {}};

  const auto problem = [&](int layer, Direction direction, MaskFormat mask) {
    const Convolution& convolution = network_.convolutions[layer];
    const Extent map = network_.map_extent(layer, image_);
    return ConvolutionProblem{.images = layout.continuing_past(layer),
                              .height = map.height,
                              .width = map.width,
                              .in_channels = convolution.in_channels,
                              .out_channels = convolution.out_channels,
                              .precision = precision_,
                              .direction = direction,
                              .mask = mask,
                              .pooled = convolution.pool_after};
  };

  // A layer's mask is written by its own fprop and read by the dgrad of the next layer, so the two are chosen
  // together, independently of those for other masks. The first layer's mask has its own kernels. Bytes cost
  // one more write than activations, which are stored anyway, so they are only for kernels that support
  // nothing else. (On an H200 cuDNN takes up to 30 % longer with such a mask: bench/results/cuda-h200.md.)
  constexpr std::array kFormats{MaskFormat::bits, MaskFormat::activation, MaskFormat::bytes};
  for (int layer = 0; layer < layers; ++layer) {
    const bool computes = layer > 0 && layout.continuing_past(layer) > 0;
    const bool next_computes = layer + 1 < layers && layout.continuing_past(layer + 1) > 0;
    const bool pooled = network_.convolutions[layer].pool_after;
    if (pooled || layer + 1 == layers || layer == 0) {
      if (!pooled && layer + 1 < layers) plan.layers[layer].mask = MaskFormat::bits;
      if (computes)
        plan.layers[layer].fprop =
            choose(problem(layer, Direction::fprop, MaskFormat::none), use, search).variant;
      if (next_computes) {
        plan.layers[layer + 1].dgrad =
            choose(problem(layer + 1, Direction::dgrad, MaskFormat::none), use, search).variant;
      }
      continue;
    }
    double best = std::numeric_limits<double>::infinity();
    for (const MaskFormat mask : kFormats) {
      // Once there is a choice, untimed variants cannot improve it, and asking for them may compile for
      // seconds.
      const bool has_one = best < std::numeric_limits<double>::infinity();
      if (has_one && (mask == MaskFormat::bytes || rule_ == PlanRule::fixed)) continue;
      const auto chosen = [&](const ConvolutionProblem& wanted) {
        return has_one ? choose_timed(wanted, use, search) : choose(wanted, use, search);
      };
      Choice fprop;
      Choice gradient;
      if (computes) fprop = chosen(problem(layer, Direction::fprop, mask));
      if (computes && !fprop.variant) continue;
      if (next_computes) gradient = chosen(problem(layer + 1, Direction::dgrad, mask));
      if (next_computes && !gradient.variant) continue;
      const double milliseconds = fprop.milliseconds + gradient.milliseconds;
      if (milliseconds >= best) continue;
      best = milliseconds;
      plan.layers[layer].mask = mask;
      plan.layers[layer].fprop = std::move(fprop.variant);
      if (next_computes) plan.layers[layer + 1].dgrad = std::move(gradient.variant);
    }
  }
  for (int layer = 1; layer < layers; ++layer) {
    if (layout.continuing_past(layer) == 0) continue;
    for (const auto& [variant, direction] : {std::pair{&plan.layers[layer].fprop, Direction::fprop},
                                             std::pair{&plan.layers[layer].dgrad, Direction::dgrad}}) {
      if (*variant) continue;
      throw Error(ErrorKind::device,
                  fmt::format("{}: no kernel computes {}", network_.convolutions[layer].name,
                              to_string(problem(layer, direction, MaskFormat::none))));
    }
  }
  return plan;
}

Planner::Choice Planner::choose(const ConvolutionProblem& problem, const PlanUse& use, PlanSearch search) {
  if (rule_ == PlanRule::timed) {
    Choice best = choose_timed(problem, use, search);
    if (best.variant) return best;
  }
  for (const ConvolutionSource& source : sources_) {
    for (auto& variant : offers(source, problem, PlanSearch::untimed)) {
      if (is_usable(variant->name())) return {std::move(variant), kUntimed};
    }
  }
  return {};
}

// Null if no timing of the problem is known and there is no time to take one.
Planner::Choice Planner::choose_timed(const ConvolutionProblem& problem, const PlanUse& use,
                                      PlanSearch search) {
  const ConvolutionProblem timed = timed_problem(problem);
  const double operations = operations_of(timed);
  const double scale = operations_of(problem) / operations;
  const TimingBudget has_time = [&] {
    return seconds_left(use) > (search == PlanSearch::compiled ? kCompilingSeconds : 0.);
  };
  double shortest = std::numeric_limits<double>::infinity();  // Milliseconds of the timed problem.
  Choice best{nullptr, shortest};
  Timings::Measure measure;  // Made only if something is timed, since it takes memory.
  for (const ConvolutionSource& source : sources_) {
    std::vector<std::unique_ptr<ConvolutionVariant>> proxies;  // They solve the timed problem.
    const auto measured = [&](const ConvolutionVariant& variant) -> std::optional<double> {
      if (proxies.empty()) proxies = offers(source, timed, PlanSearch::known);
      const auto proxy = std::ranges::find(proxies, variant.name(), &ConvolutionVariant::name);
      if (proxy == proxies.end()) return std::nullopt;
      if (!measure) measure = timings_.timer(timed);
      return measure(**proxy, kCutoffFactor * shortest);
    };
    for (auto& variant : offers(source, problem, has_time() ? search : PlanSearch::known, has_time)) {
      if (refused_.contains(to_string(problem) + ": " + variant->name())) continue;
      if (!is_usable(variant->name())) continue;
      const std::string key = to_string(timed) + ": " + variant->name();
      std::optional<double> milliseconds = timings_.find(key);
      if (!milliseconds && seconds_left(use) > 0) {
        milliseconds = time(variant->name(), key, use, [&] { return measured(*variant); });
      }
      if (!milliseconds) continue;
      shortest = std::min(shortest, *milliseconds);
      fastest_ = std::max(fastest_, operations / (1e-3 * std::max(*milliseconds, 1e-6)));
      const double whole =
          *milliseconds * scale + 1e3 * variant->setup_seconds() / static_cast<double>(use.iterations);
      if (whole < best.milliseconds) best = {std::move(variant), whole};
    }
  }
  return best;
}

std::string Planner::choose_first_layer(const FirstLayerProblem& problem, const PlanUse& use) {
  const FirstLayerProblem timed = timed_problem(problem);
  const std::string_view operation =
      problem.direction == Direction::fprop ? "first-layer fprop" : "first-layer dgrad";
  const std::vector<std::string> kernels = first_layer_kernels(problem);
  std::string untimed;  // Used if none is timed.
  std::string best;
  double shortest = std::numeric_limits<double>::infinity();
  Timings::MeasureFirstLayer measure;
  for (const std::string& kernel : kernels) {
    const std::string name = fmt::format("{} {}", operation, kernel);
    if (!is_usable(name)) continue;
    if (rule_ == PlanRule::timed && kernels.size() > 1) {
      const std::string key = fmt::format("{}: {}", to_string(timed), kernel);
      std::optional<double> milliseconds = timings_.find(key);
      if (!milliseconds && seconds_left(use) > 0) {
        milliseconds = time(name, key, use, [&] {
          if (!measure) measure = timings_.first_layer_timer(timed);
          return measure(kernel, kCutoffFactor * shortest);
        });
        if (!is_usable(name)) continue;
      }
      if (milliseconds) {
        fastest_ = std::max(fastest_, operations_of(timed) / (1e-3 * std::max(*milliseconds, 1e-6)));
        if (*milliseconds < shortest) best = kernel;
        shortest = std::min(shortest, *milliseconds);
      }
    }
    if (untimed.empty()) untimed = kernel;
  }
  if (!best.empty()) return best;
  if (!untimed.empty()) return untimed;
  throw Error(ErrorKind::device,
              fmt::format("{}: no kernel computes {}", network_.convolutions[0].name, to_string(problem)));
}

bool Planner::is_usable(const std::string& kernel) const {
  return !wrong_.contains(kernel) && !timings_.find(broken_key(kernel));
}

std::optional<double> Planner::time(const std::string& kernel, const std::string& key, const PlanUse& use,
                                    const std::function<std::optional<double>()>& measure) {
  if (use.on_notice && !std::exchange(noticed_, true)) use.on_notice(std::string(kNotice));
  try {
    const std::optional<double> milliseconds = measure();
    if (milliseconds) timings_.store(key, *milliseconds);
    return milliseconds;
  } catch (const WrongResult& error) {
    wrong_.insert(kernel);
    found_wrong_ = true;
    if (use.on_notice) use.on_notice(fmt::format("{}. It is not used; please report this.", error.what()));
  } catch (const OutOfMemory&) {
    // There may be enough memory another time.
  } catch (const std::exception& error) {
    // A kernel that fails, or cannot be launched here, is passed over. If it has broken the device, this
    // process cannot launch anything any more; the next one passes the kernel over.
    if (cudaDeviceSynchronize() == cudaSuccess) return std::nullopt;
    timings_.store(broken_key(kernel), 0);
    throw Error(ErrorKind::device,
                fmt::format("{} broke the device: {}. Repeat the command: that kernel is not "
                            "used from now on. Please report this",
                            key, error.what()));
  }
  return std::nullopt;
}

}  // namespace filterscope::cuda
