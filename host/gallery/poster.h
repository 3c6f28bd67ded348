#pragma once

#include "../output/png.h"
#include "../store/stored_run.h"
#include "pictures.h"

namespace filterscope {

/// The longest side of a picture on the poster of `run`, in pixels, for survey_pictures(). The more filters a
/// layer has, the smaller it is, so that all posters have about the same width.
int poster_tile(const StoredRun& run);

/// All filters of a run in one picture: one strip per layer, from the first, with its filters in the order of
/// their numbers. Like sheets, it marks rescued, dead and nonfinite filters and leaves the places of missing
/// ones empty.
RgbImage draw_poster(const StoredRun& run, const PictureSurvey& survey);

}  // namespace filterscope
