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

/// What the arguments of `filterscope render` ask for.
struct RenderRequest {
  std::vector<FilterId> whole;      ///< Of all shares.
  std::vector<FilterId> selection;  ///< Of this share.
  std::optional<Shard> shard;
  Recipe recipe;
  RenderOptions render;  ///< With the start images.
  std::optional<std::string> weights;
  std::optional<std::string> init_file;
  std::optional<InitRecord> init;  ///< Of that file.
  bool size_given = false;
  std::filesystem::path out = kDefaultOut;  ///< The share's own.
  bool force = false;
  bool quiet = false;
  bool verbose = false;
};

const OptionTable& render_options();
/// What --help prints.
std::string render_help();

/// Reads the arguments and the file of --init; usage and input Errors name the option.
RenderRequest parse_render_request(const Arguments& arguments, const Network& network);

/// An input Error where `weights` lack a layer that the whole selection needs.
void refuse_missing_layers(const RenderRequest& request, const Network& network, const Weights& weights);
/// A usage Error where one filter's frames are larger than this machine's memory.
void refuse_frames_beyond_memory(const RenderRequest& request);

/// An engine takes one start image for all filters, or one for each that it renders: where there is one for
/// each of the whole selection, those that the folder still lacks of this share are kept.
void keep_start_images(RenderRequest& request, const Network& network);
/// An output Error if `remaining` are not as many: another process has finished filters in the folder since.
void require_start_images(const RenderRequest& request, const std::vector<FilterId>& remaining);

}  // namespace filterscope::cli
