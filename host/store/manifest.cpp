#include "manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "../base/text.h"
#include "version.h"

namespace filterscope {

Manifest describe_run(const Network& network, const Weights& weights, const Recipe& recipe,
                      const RenderOptions& options, const EngineDescription& engine) {
  std::error_code nowhere;  // If the working directory has been removed, the path remains as given.
  const std::filesystem::path path = std::filesystem::absolute(weights.path, nowhere);
  Manifest manifest;
  manifest.version = kVersion;
  manifest.started = std::chrono::system_clock::now();
  manifest.network = network;
  manifest.weights = {.name = weights.name,
                      .path = (nowhere ? weights.path : path).string(),
                      .kind = weights.kind,
                      .sha256 = weights.sha256,
                      .natural_input = weights.natural_input,
                      .conversions = weights.conversions,
                      .notes = weights.notes};
  manifest.recipe = recipe;
  manifest.seed = options.seed;
  manifest.trace_every = options.trace_every > 0 ? options.trace_every : recipe.trace_every();
  manifest.reproducible = options.reproducible;
  manifest.engines = {engine};
  return manifest;
}

std::string start_file_name(const InitRecord& init) {
  return std::filesystem::path(init.file).filename().string();
}

std::string recipe_text(const Manifest& manifest) {
  const std::string start = !manifest.init ? fmt::format("seed {}", manifest.seed)
                            : manifest.init->filters.empty()
                                ? "started from " + start_file_name(*manifest.init)
                                : "started from the images in " + start_file_name(*manifest.init);
  return fmt::format("recipe {}, {}, {} pixels, {}, weights {}", manifest.recipe.name,
                     counted(manifest.recipe.iterations(), "iteration"),
                     size_text(manifest.recipe.picture_extent()), start, manifest.weights.name);
}

void add_command_line(Manifest& manifest, const std::string& command_line) {
  auto& lines = manifest.command_lines;
  if (std::ranges::find(lines, command_line) == lines.end()) lines.push_back(command_line);
}

std::size_t add_engine(Manifest& manifest, const EngineDescription& engine) {
  auto& engines = manifest.engines;
  const auto known = std::ranges::find_if(engines, [&](const EngineDescription& other) {
    return other.device == engine.device && other.device_name == engine.device_name &&
           other.precision == engine.precision && other.threads == engine.threads &&
           other.libraries == engine.libraries;
  });
  const auto index = static_cast<std::size_t>(known - engines.begin());
  if (known == engines.end()) {
    engines.push_back(engine);
    return index;
  }
  for (const std::string& plan : engine.plans)
    if (std::ranges::find(known->plans, plan) == known->plans.end()) known->plans.push_back(plan);
  return index;
}

}  // namespace filterscope
