#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "../ascent/recipe.h"
#include "../model/network.h"
#include "../model/weights/weights.h"
#include "../run/render_options.h"
#include "../run/selection.h"
#include "../run/shard.h"
#include "../store/manifest.h"
#include "common_options.h"
#include "options.h"

namespace filterscope::cli {

/// The parsed arguments of `filterscope render`.
struct RenderRequest {
  std::vector<FilterId> whole;      ///< The filters of all shares.
  std::vector<FilterId> selection;  ///< The filters of this share.
  std::optional<Shard> shard;
  Recipe recipe;
  RenderOptions render;  ///< Includes the start images.
  std::optional<std::string> weights;
  std::optional<std::string> init_file;
  std::optional<InitRecord> init;  ///< Describes that file.
  bool size_given = false;
  std::filesystem::path out = kDefaultOut;  ///< The share's folder, if there is one.
  bool force = false;
  bool quiet = false;
  bool verbose = false;
};

const OptionTable& render_options();
/// The text of --help.
std::string render_help();

/// Reads the arguments and the file of --init. Throws usage and input Errors that name the option.
RenderRequest parse_render_request(const Arguments& arguments, const Network& network);

/// Throws an input Error if `weights` lack a layer that the whole selection needs.
void refuse_missing_layers(const RenderRequest& request, const Network& network, const Weights& weights);
/// Throws a usage Error if one filter's frames are larger than this machine's memory.
void refuse_frames_beyond_memory(const RenderRequest& request);

/// An engine takes one start image for all filters, or one for each that it renders. Reduces start images
/// that were given one per filter of the whole selection to those of this share that the folder still lacks.
void keep_start_images(RenderRequest& request, const Network& network);
/// Throws an output Error unless there are as many `remaining` filters: otherwise another process has
/// finished filters in the folder since.
void require_start_images(const RenderRequest& request, const std::vector<FilterId>& remaining);

}  // namespace filterscope::cli
