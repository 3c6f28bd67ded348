#pragma once

#include <limits>

#include "host/store/manifest.h"
#include "version.h"

namespace filterscope {

/// A manifest with a filter of every status.
inline Manifest example() {
  Manifest manifest;
  manifest.version = kVersion;
  manifest.command_lines = {"filterscope render 'block1_*:0-1'", "filterscope render 'block1_*:0-2'"};
  manifest.started = std::chrono::system_clock::from_time_t(1700000000);
  manifest.network = vgg16();
  manifest.weights = {.name = "vgg16.h5",
                      .path = "/data/vgg16.h5",
                      .kind = WeightsKind::keras_hdf5,
                      .sha256 = "00ff",
                      .natural_input = keras_mapping()};
  manifest.recipe = find_recipe("seed");
  manifest.recipe.stages.front().iterations = 200;
  manifest.recipe.stages.front().extent = {96, 80};
  manifest.seed = 18446744073709551615u;
  manifest.trace_every = 4;
  manifest.engines = {{.device = "cpu",
                       .device_name = "Some CPU",
                       .precision = Precision::fp32,
                       .threads = 2,
                       .libraries = {{"CUDA", "13.0.88"}, {"another", "1"}},
                       .plans = {"batch 8; block1_conv1 fprop direct", "batch 3"}},
                      {.device = "cpu",
                       .device_name = "Another CPU",
                       .precision = Precision::fp32,
                       .threads = 64,
                       .libraries = {},
                       .plans = {}}};
  manifest.wall_seconds = 12.34567;
  manifest.phases = {.start_up = 0.5,
                     .weights = 0.25,
                     .plans = 1,
                     .ascent = 12.0625,
                     .finish = 0.125,
                     .encode = 3,
                     .write = 0.1234};
  manifest.filters.resize(5);
  for (int i = 0; i < 5; ++i) manifest.filters[static_cast<std::size_t>(i)].id = {i / 3, i % 3};
  manifest.filters[0] = {.id = {0, 0},
                         .status = FilterStatus::ok,
                         .iterations = 200,
                         .first_loss = 0.1f,
                         .final_loss = 1.5f,
                         .last_gradient_norm = 1e-5f,
                         .file = "block1_conv1/block1_conv1_f0000.png",
                         .frame_every = 10};
  manifest.filters[1] = {.id = {0, 1}, .status = FilterStatus::dead, .iterations = 0, .file = "a"};
  manifest.filters[2] = {.id = {0, 2},
                         .status = FilterStatus::nonfinite,
                         .iterations = 7,
                         .first_loss = 1.f,
                         .final_loss = std::numeric_limits<float>::infinity(),
                         .last_gradient_norm = std::numeric_limits<float>::quiet_NaN(),
                         .file = "b",
                         .engine = 1};
  manifest.filters[4] = {.id = {1, 1},
                         .status = FilterStatus::rescued,
                         .iterations = 200,
                         .first_loss = 0.f,
                         .final_loss = 2.5f,
                         .last_gradient_norm = 0.5f,
                         .rescued_iterations = 37,
                         .alive_from = 39,
                         .range = 7,
                         .file = "c"};
  manifest.raw = {{.layer = 0, .file = "raw/block1_conv1.npy", .filters = {0, 1, 2}}};
  return manifest;
}

}  // namespace filterscope
