#pragma once

#include "../output/png.h"
#include "../store/stored_run.h"
#include "pictures.h"

namespace filterscope {

/// The longest side of a picture on the poster of `run`, in pixels: what survey_pictures() needs. The more
/// filters a layer has, the smaller, so that all posters are about equally wide.
int poster_tile(const StoredRun& run);

/// All filters of a run in one picture: a strip for each layer, from the first, in it every filter by
/// ascending number. Marks rescued, dead and nonfinite filters and leaves the places of missing ones empty,
/// as sheets do.
Picture draw_poster(const StoredRun& run, const PictureSurvey& survey);

}  // namespace filterscope
