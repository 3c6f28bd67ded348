#pragma once

#include <cstdint>
#include <string>

#include "../base/extent.h"
#include "../base/initial_images.h"
#include "precision.h"

namespace filterscope {

/// One run's parameters beyond the recipe.
struct RenderOptions {
  Extent extent{96, 96};     ///< Of the image; at least Network::smallest_image() each way.
  std::uint64_t seed = 0;    ///< Of the initial noise.
  int trace_every = 0;       ///< Iterations between reported losses; 0: as the recipe says.
  bool keep_images = false;  ///< Also return the unscaled images.
  /// Iterations between the frames of a filter's animation; 0: none. A filter's frames take
  /// frame_count(iterations, frame_every) pictures of memory until the observer has them.
  int frame_every = 0;
  InitialImages initial_images;  ///< count 0: noise.

  std::string device = "auto";  ///< auto, cpu, cuda, cuda:N
  Precision precision = Precision::automatic;
  int batch = 0;    ///< Filters ascended at once; 0: chosen by the engine.
  int threads = 0;  ///< CPU threads; 0: default_threads().
  /// This process among those that render on this machine at the same time, from 0: so that each takes a GPU
  /// of its own where `device` names none.
  int local_rank = 0;
  bool reproducible =
      false;  ///< Fix the plan, so that a filter's bytes do not depend on what else is rendered.
  /// CUDA: a profiler's capture is limited to `profile_count` iterations of the run, from number
  /// `profile_first` (from 1) on; those are enqueued operation by operation, not as a graph. 0: no limit,
  /// graphs throughout.
  int profile_first = 1;
  int profile_count = 0;
};

}  // namespace filterscope
