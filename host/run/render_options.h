#pragma once

#include <cstdint>
#include <string>

#include "../base/initial_images.h"
#include "precision.h"

namespace filterscope {

/// The parameters of a run besides the recipe, which has the sizes.
struct RenderOptions {
  std::uint64_t seed = 0;    ///< Seed of all random draws.
  int trace_every = 0;       ///< Iterations between traced losses; 0: the recipe's.
  bool keep_images = false;  ///< Also return the unscaled images.
  /// Iterations between the frames of an animation; 0: no frames. The frames of a filter,
  /// frame_count(iterations, frame_every) pictures, stay in memory until the observer has them.
  int frame_every = 0;
  InitialImages initial_images;  ///< count 0: noise.

  std::string device = "auto";  ///< auto, cpu, cuda, cuda:N
  Precision precision = Precision::automatic;
  int batch = 0;    ///< Filters ascended at once; 0: as make_schedule() chooses.
  int threads = 0;  ///< CPU threads; 0: default_threads().
  /// Rank of this process, from 0, among those rendering on this machine: if `device` names no GPU, each
  /// takes another one.
  int local_rank = 0;
  /// Fix the plan, so that the bytes of a filter do not depend on what else is rendered.
  bool reproducible = false;
  /// CUDA: limit a profiler's capture to `profile_count` iterations of the run, starting with number
  /// `profile_first` (from 1). They are enqueued operation by operation, not as a graph. 0: no limit, graphs
  /// throughout.
  int profile_first = 1;
  int profile_count = 0;
};

}  // namespace filterscope
