#pragma once

#include <span>
#include <string>

#include "pictures.h"
#include "run_folder.h"

namespace filterscope {

/// One run as a page shows it.
struct PageRun {
  const RunFolder& run;
  const PictureSurvey& survey;
  std::string folder;  ///< From the page's folder to the run's, with '/' at the end; empty: the same.
};

/// Points that a curve on the page may have; longer traces are thinned evenly. traces.csv has all.
inline constexpr int kCurvePoints = 128;

/// index.html: tools/gallery's page, style and script, and the data of `runs` (one, or two to be compared; of
/// one network), all in one file that needs nothing from a network.
///
/// The data is a JSON object in <script id="data" type="application/json">:
///   format    1
///   version   of the program that wrote the page
///   written   when, ISO 8601, UTC
///   network   {name, layers: [{name, inputs, filters, pool, field}]}: all layers of the network, from the
///   first;
///             pool: whether a max-pool follows; field: the receptive field, pixels each way
///   runs      one object for each run:
///     folder, version, command, started, complete, weights, sha256, synthetic, recipe (the manifest's
///     object), height, width, iterations, seed (text: it may exceed what a double holds), device,
///     device_name, precision, wall_seconds (or null) thumbnail {width, height, columns, pictures}: geometry
///     of the atlases, see pictures.h steps     steps taken at each point of the curves, ascending layers one
///     object for each layer selected from, ascending; in it each array has one element for each
///               selected filter, ascending by number:
///       layer     index in network.layers
///       map       [height, width] of the layer's map
///       atlases   files relative to the page
///       numbers   of the filters
///       status    text, one letter each: o ok, d dead, n nonfinite, - missing
///       pictures  text, one letter each: t there, m missing, d damaged, - none
///       files     pictures, relative to the run's folder
///       seeds     texts; only where one differs from the run's seed
///       iterations, first, final, gradient, hue, chroma, contrast   numbers or null
///       curves    float32, little-endian, [filters][steps], base64; NaN where there is none
std::string build_page(std::span<const PageRun> runs);

}  // namespace filterscope
