#include "poster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../base/text.h"
#include "../output/canvas.h"
#include "../output/font.h"
#include "../store/sheet.h"

namespace filterscope {
namespace {

using namespace palette;

constexpr int kMostColumns = 64;
constexpr int kFewestColumns = 8;
constexpr int kStripWidth = 2048;  ///< Width of a full strip's pictures.
constexpr int kMargin = 40;
constexpr int kGap = 2;        ///< Between pictures: room for their frames.
constexpr int kStripGap = 20;  ///< Between strips.
constexpr int kTextScale = 2;
constexpr int kTitleScale = 5;
constexpr int kTextLine = kGlyphHeight * kTextScale + 6;
constexpr int kTitleLine = kGlyphHeight * kTitleScale + 10;
constexpr int kBadgeScale = kTitleScale - 1;
constexpr int kBadgePadding = 12;

/// Pictures per row: a power of two, so that rows of full layers begin with round numbers.
int columns_of(const StoredRun& run) {
  int most = 0;
  int count = 0;
  for (std::size_t i = 0; i < run.manifest.filters.size(); ++i) {
    count = i > 0 && run.manifest.filters[i - 1].id.layer == run.manifest.filters[i].id.layer ? count + 1 : 1;
    most = std::max(most, count);
  }
  int columns = kFewestColumns;
  while (columns < std::min(most, kMostColumns)) columns *= 2;
  return columns;
}

/// One layer on the poster.
struct Strip {
  const LayerAtlases& layer;
  /// Lines to its left: its name, "512 filters", "40 rescued", "6 dead", "1 missing".
  std::vector<std::string> text;
  int height = 0;  ///< Pixels.
};

std::vector<std::string> text_of(const StoredRun& run, const LayerAtlases& layer) {
  const std::span entries = std::span(run.manifest.filters).subspan(layer.first, layer.count);
  const auto count = [&](std::optional<FilterStatus> status) {
    return std::ranges::count(entries, status, &FilterRecord::status);
  };
  std::vector<std::string> lines{
      run.manifest.network.convolutions[static_cast<std::size_t>(layer.layer)].name,
      counted(static_cast<std::int64_t>(layer.count), "filter")};
  if (const auto rescued = count(FilterStatus::rescued)) lines.push_back(fmt::format("{} rescued", rescued));
  if (const auto dead = count(FilterStatus::dead)) lines.push_back(fmt::format("{} dead", dead));
  if (const auto nonfinite = count(FilterStatus::nonfinite))
    lines.push_back(fmt::format("{} NaN", nonfinite));
  if (const auto missing = count(std::nullopt)) lines.push_back(fmt::format("{} missing", missing));
  return lines;
}

}  // namespace

int poster_tile(const StoredRun& run) {
  return std::min(kStripWidth / columns_of(run), kLargestTile);
}

RgbImage draw_poster(const StoredRun& run, const PictureSurvey& survey) {
  const Manifest& manifest = run.manifest;
  const bool synthetic = manifest.weights.kind == WeightsKind::synthetic;
  const int columns = columns_of(run);
  const Extent tile = tile_extent(manifest.recipe.picture_extent(), poster_tile(run));
  const int cell_height = tile.height + kGap;
  const int cell_width = tile.width + kGap;

  std::vector<Strip> strips;
  int text_column = 0;
  for (const LayerAtlases& layer : survey.layers) {
    Strip& strip = strips.emplace_back(Strip{layer, text_of(run, layer), 0});
    const int rows = (static_cast<int>(layer.count) + columns - 1) / columns;
    strip.height = std::max(rows * cell_height - kGap, static_cast<int>(strip.text.size()) * kTextLine);
    for (const std::string& line : strip.text)
      text_column = std::max(text_column, text_width(line, kTextScale));
  }
  const int strip_left = kMargin + text_column + kMargin / 2;
  const std::string title = fmt::format("{} filters", manifest.network.name);
  const int badge_width = text_width(kSyntheticLabel, kBadgeScale) + 4 * kBadgePadding;
  const int content = std::max(
      {strip_left - kMargin + columns * cell_width - kGap, text_width(title, kTitleScale), badge_width});
  const std::vector<std::string> details =
      wrap(fmt::format("{}, {}", counted(std::ssize(manifest.filters), "filter"), recipe_text(manifest)),
           static_cast<std::size_t>(content / (kGlyphWidth * kTextScale)));
  const bool badge_beside = text_width(title, kTitleScale) + kMargin + badge_width <= content;
  const int badge_line = synthetic && !badge_beside ? kTitleLine + kBadgePadding : 0;

  int height = kMargin + kTitleLine + badge_line + static_cast<int>(details.size()) * kTextLine + kMargin;
  for (const Strip& strip : strips) height += strip.height + kStripGap;
  Canvas canvas(height, kMargin + content + kMargin);

  int top = kMargin;
  canvas.text(top, kMargin, kTitleScale, title, kTitle);
  top += kTitleLine;
  if (synthetic) {
    canvas.label(badge_beside ? kMargin : top, badge_beside ? kMargin + content - badge_width : kMargin,
                 kBadgeScale, kSyntheticLabel, kBadgePadding, kBadgeText, kBadge);
    top += badge_line;
  }
  for (const std::string& line : details) {
    canvas.text(top, kMargin, kTextScale, line, kText);
    top += kTextLine;
  }
  top += kStripGap;

  for (const Strip& strip : strips) {
    for (std::size_t line = 0; line < strip.text.size(); ++line)
      canvas.text(top + static_cast<int>(line) * kTextLine, kMargin, kTextScale, strip.text[line],
                  line == 0 ? kTitle : kText);
    for (std::size_t i = 0; i < strip.layer.count; ++i) {
      const int place = static_cast<int>(i);
      const int tile_top = top + place / columns * cell_height;
      const int tile_left = strip_left + place % columns * cell_width;
      const std::optional<FilterStatus> status = manifest.filters[strip.layer.first + i].status;
      const PictureRecord& picture = survey.pictures[strip.layer.first + i];
      if (picture.state == PictureState::there)
        canvas.paste(tile_top, tile_left, picture.small);
      else
        canvas.fill(tile_top, tile_left, tile.height, tile.width, kEmpty);
      if (status == FilterStatus::rescued) {
        canvas.corner(tile_top, tile_left, std::max(std::min(tile.height, tile.width) / 10, 3), kRescued);
      } else if (status && *status != FilterStatus::ok) {
        const Colour mark = *status == FilterStatus::dead ? kDead : kNonfinite;
        canvas.frame(tile_top, tile_left, tile.height, tile.width, kGap / 2, mark);
        canvas.corner(tile_top, tile_left, std::min(tile.height, tile.width) / 3, mark);
      }
    }
    top += strip.height + kStripGap;
  }
  return canvas.take();
}

}  // namespace filterscope
