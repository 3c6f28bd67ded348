#include "page.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <mbedtls/base64.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>

#include "page_sources.h"
#include "version.h"

namespace filterscope {
namespace {

using Json = nlohmann::ordered_json;

/// Six digits, more than a reader compares; null if not finite.
Json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return Json::parse(fmt::format("{:.6g}", value));
}

std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little, "the page reads little-endian numbers");
  const std::span<const std::byte> bytes = std::as_bytes(values);
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // mbedtls writes a terminating zero.
  std::size_t length = 0;
  if (mbedtls_base64_encode(reinterpret_cast<unsigned char*>(text.data()), text.size(), &length,
                            reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) != 0)
    throw std::logic_error("base64: the buffer is too small");
  text.resize(length);
  return text;
}

/// All steps at which one of the curves has a point, thinned to kCurvePoints.
std::vector<int> steps_of(const std::vector<std::vector<CurvePoint>>& curves) {
  std::set<int> distinct;
  for (const auto& curve : curves)
    for (const CurvePoint& point : curve) distinct.insert(point.steps);
  const std::vector<int> all(distinct.begin(), distinct.end());
  if (all.size() <= kCurvePoints) return all;
  std::vector<int> some;
  for (std::size_t i = 0; i < kCurvePoints; ++i)
    some.push_back(all[i * (all.size() - 1) / (kCurvePoints - 1)]);
  return some;
}

char letter(std::optional<FilterStatus> status) {
  if (!status) return '-';
  switch (*status) {
    case FilterStatus::ok:
      return 'o';
    case FilterStatus::dead:
      return 'd';
    case FilterStatus::nonfinite:
      return 'n';
  }
  return '-';
}

char letter(PictureState state) {
  switch (state) {
    case PictureState::none:
      return '-';
    case PictureState::there:
      return 't';
    case PictureState::missing:
      return 'm';
    case PictureState::damaged:
      return 'd';
  }
  return '-';
}

Json to_json(const LayerAtlases& layer, const PageRun& page, const std::vector<int>& steps,
             const std::vector<std::vector<CurvePoint>>& curves) {
  const RunFolder& run = page.run;
  const Extent map = run.network.map_extent(layer.layer, run.extent);
  Json json{{"layer", layer.layer}, {"map", {map.height, map.width}}, {"atlases", layer.files}};
  std::string status, pictures;
  Json numbers = Json::array(), files = Json::array(), seeds = Json::array(), iterations = Json::array(),
       first = Json::array(), final = Json::array(), gradient = Json::array(), hue = Json::array(),
       chroma = Json::array(), contrast = Json::array();
  std::vector<float> losses;
  bool own_seeds = false;
  for (std::size_t i = layer.first; i < layer.first + layer.count; ++i) {
    const FilterEntry& entry = run.filters[i];
    const PictureRecord& picture = page.survey.pictures[i];
    const bool seen = picture.state == PictureState::there;
    numbers.push_back(entry.id.filter);
    status += letter(entry.status);
    pictures += letter(picture.state);
    files.push_back(entry.file);
    seeds.push_back(std::to_string(entry.seed));
    own_seeds = own_seeds || entry.seed != run.seed;
    iterations.push_back(entry.iterations);
    first.push_back(number(entry.first_loss));
    final.push_back(number(entry.final_loss));
    gradient.push_back(number(entry.gradient_norm));
    hue.push_back(seen ? number(std::round(picture.colours.hue)) : Json(nullptr));
    chroma.push_back(seen ? number(std::round(picture.colours.chroma * 1e4) / 1e4) : Json(nullptr));
    contrast.push_back(seen ? number(std::round(picture.colours.contrast * 1e4) / 1e4) : Json(nullptr));

    auto point = curves[i].begin();
    for (const int step : steps) {
      while (point != curves[i].end() && point->steps < step) ++point;
      losses.push_back(point != curves[i].end() && point->steps == step ? point->loss
                                                                        : FilterEntry::kUnknown);
    }
  }
  json["numbers"] = std::move(numbers);
  json["status"] = status;
  json["pictures"] = pictures;
  json["files"] = std::move(files);
  if (own_seeds) json["seeds"] = std::move(seeds);
  json["iterations"] = std::move(iterations);
  json["first"] = std::move(first);
  json["final"] = std::move(final);
  json["gradient"] = std::move(gradient);
  json["hue"] = std::move(hue);
  json["chroma"] = std::move(chroma);
  json["contrast"] = std::move(contrast);
  json["curves"] = base64(losses);
  return json;
}

Json to_json(const PageRun& page) {
  const RunFolder& run = page.run;
  std::vector<std::vector<CurvePoint>> curves;
  for (const FilterEntry& entry : run.filters) curves.push_back(loss_curve(entry));
  const std::vector<int> steps = steps_of(curves);
  Json layers = Json::array();
  for (const LayerAtlases& layer : page.survey.layers) layers.push_back(to_json(layer, page, steps, curves));
  return {{"folder", page.folder},
          {"version", run.version},
          {"command", run.command_line},
          {"started", run.started},
          {"complete", run.complete},
          {"weights", run.weights_name},
          {"sha256", run.weights_sha256},
          {"synthetic", run.synthetic},
          {"recipe", Json::parse(run.recipe_json)},
          {"height", run.extent.height},
          {"width", run.extent.width},
          {"iterations", run.iterations},
          {"seed", std::to_string(run.seed)},
          {"device", run.device},
          {"device_name", run.device_name},
          {"precision", run.precision},
          {"wall_seconds", run.wall_seconds ? number(*run.wall_seconds) : Json(nullptr)},
          {"thumbnail",
           {{"width", page.survey.thumbnail.width},
            {"height", page.survey.thumbnail.height},
            {"columns", kAtlasColumns},
            {"pictures", kAtlasPictures}}},
          {"steps", steps},
          {"layers", std::move(layers)}};
}

Json to_json(const Network& network) {
  Json layers = Json::array();
  int field = 1;   // Pixels each way that a position of the layer sees.
  int stride = 1;  // Pixels between neighbouring positions.
  for (const Convolution& convolution : network.convolutions) {
    field += 2 * stride;
    layers.push_back({{"name", convolution.name},
                      {"inputs", convolution.in_channels},
                      {"filters", convolution.out_channels},
                      {"pool", convolution.pool_after},
                      {"field", field}});
    if (convolution.pool_after) {
      field += stride;
      stride *= 2;
    }
  }
  return {{"name", network.name}, {"layers", std::move(layers)}};
}

/// Text that may stand in a script element: no "<", which could begin "</script" or "<!--".
std::string in_script(const Json& json) {
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char character : text) {
    if (character == '<')
      safe += "\\u003c";
    else
      safe += character;
  }
  return safe;
}

}  // namespace

std::string build_page(std::span<const PageRun> runs) {
  Json json{{"format", 1},
            {"version", kVersion},
            {"written", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(
                                                                 std::chrono::system_clock::now())))},
            {"network", to_json(runs.front().run.network)},
            {"runs", Json::array()}};
  for (const PageRun& run : runs) json["runs"].push_back(to_json(run));

  const std::string data = in_script(json);
  // Each mark stands once in tools/gallery/index.html, alone on its line.
  std::string page;
  std::string_view rest = kPageHtml;
  for (const auto& [mark, content] :
       {std::pair<std::string_view, std::string_view>{"/* style.css */", kPageStyle},
        {"/* data */", data},
        {"/* gallery.js */", kPageScript}}) {
    const std::size_t place = rest.find(mark);
    if (place == std::string_view::npos) throw std::logic_error("build_page: the page lacks a mark");
    page += rest.substr(0, place);
    page += content;
    rest.remove_prefix(place + mark.size());
  }
  page += rest;
  return page;
}

}  // namespace filterscope
