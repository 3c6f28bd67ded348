#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "../base/text.h"
#include "recipe.h"
#include "recipe_fields.h"

namespace filterscope {
namespace {

using namespace recipe_fields;

/// Transform number i of an iteration draws from counter iteration * 16 + i, a word of 32 bits.
constexpr int kMostTransformedIterations = (1 << 28) - 1;
constexpr std::size_t kMostRegularisers = 16;
constexpr std::size_t kMostStages = 1000;
constexpr std::size_t kMostChoices = 100'000;

/// Checks the range of each field.
class Checker {
 public:
  Checker(std::string_view origin, std::string path) : origin_(origin), path_(std::move(path)) {}

  template <typename Object, typename Names>
  void kind(const Object& object, const Names& names) {
    choice("kind", object.kind, names);
  }
  template <typename Value, typename Names>
  void choice(const char* key, Value value, const Names& names) const {
    if (name_of(value, names) == "?")
      refuse_value(origin_, path_of(key), "a value of its enum", std::to_string(static_cast<int>(value)));
  }
  template <typename Value, typename Names>
  void choice(const char* key, const std::optional<Value>& value, const Names& names) const {
    if (value) choice(key, *value, names);
  }
  void number(const char* key, float value, Range range) const {
    check(path_of(key), "number", value, range);
  }
  void count(const char* key, int value, Range range) const {
    check(path_of(key), "whole number", value, range);
  }
  void flag(const char*, bool) {}
  void text(const char* key, const std::string& value) const {
    constexpr std::size_t kLongest = 1000;
    const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    const bool is_name = std::string_view(key) == "name";
    if (!is_utf8(value) || value.size() > (is_name ? 100 : kLongest) ||
        std::ranges::any_of(value, is_control) || (is_name && value.empty()))
      refuse_value(
          origin_, path_of(key),
          fmt::format("a line of UTF-8 of {} to {} bytes", is_name ? 1 : 0, is_name ? 100 : kLongest),
          fmt::format("\"{}\"", printable(value)));
  }
  void interval(const char* key, const std::optional<AfterStep::Interval>& value, Range range) const {
    if (value) ordered(path_of(key), value->low, value->high, range, true);
  }
  void draw(const char* key, const Draw& draw, Range range) const {
    if (draw.choices.empty()) {
      ordered(path_of(key), draw.low, draw.high, range, false);
      return;
    }
    at_most(path_of(key), "choices", draw.choices.size(), kMostChoices);
    for (std::size_t i = 0; i < draw.choices.size(); ++i)
      check(fmt::format("{}.{}", path_of(key), i), "number", draw.choices[i], range);
  }
  void extent(const char* key, Extent value) const {
    constexpr Range kSides{1, kLargestImage};
    check(path_of(key), "whole number", value.height, kSides);
    check(path_of(key), "whole number", value.width, kSides);
  }
  void extent(const char* key, const std::optional<Extent>& value) const {
    if (value) extent(key, *value);
  }
  void position(const char* key, const std::optional<Objective::Position>& value) const {
    if (!value) return;
    check(path_of(key), "whole number", value->y, kPixels);
    check(path_of(key), "whole number", value->x, kPixels);
  }
  void mapping(const char* key, const InputMapping& mapping) const {
    for (std::size_t c = 0; c < 3; ++c) {
      check(path_of(key) + ".source", "whole number", mapping.source[c], {0, 2});
      check(path_of(key) + ".scale", "number", mapping.scale[c], kAny);
      check(path_of(key) + ".offset", "number", mapping.offset[c], kAny);
    }
  }
  template <typename Object, typename... Arguments>
  void object(const char* key, const Object& object, Arguments... arguments) const {
    Checker part(origin_, path_of(key));
    visit_fields(part, object, arguments...);
  }
  template <typename Element, typename... Arguments>
  void list(const char* key, const std::vector<Element>& elements, Arguments... arguments) const {
    for (std::size_t i = 0; i < elements.size(); ++i) {
      Checker part(origin_, fmt::format("{}.{}", path_of(key), i));
      visit_fields(part, elements[i], arguments...);
    }
  }
  void stages(const char* key, const std::vector<Stage>& stages) const {
    if (stages.empty()) refuse_value(origin_, key, "at least one stage", "none");
    at_most(key, "stages", stages.size(), kMostStages);
    for (std::size_t i = 0; i < stages.size(); ++i) {
      Checker part(origin_, fmt::format("{}.{}", key, i));
      visit_fields(part, stages[i], i == 0);
    }
  }

  void ordered(const std::string& path, double low, double high, Range range, bool differ) const {
    check(path + ".low", "number", low, range);
    check(path + ".high", "number", high, range);
    if (differ ? low >= high : low > high)
      refuse_value(origin_, path, fmt::format("low {} high", differ ? "below" : "at most"),
                   fmt::format("{} and {}", low, high));
  }
  void at_most(const std::string& path, std::string_view what, std::size_t count, std::size_t most) const {
    if (count > most)
      refuse_value(origin_, path, fmt::format("at most {} {}", most, what), std::to_string(count));
  }
  std::string path_of(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

 private:
  void check(const std::string& path, std::string_view what, double value, Range range) const {
    if (!is_in(range, value))
      refuse_value(origin_, path, range_text(what, range), fmt::format("{:g}", value));
  }

  std::string_view origin_;
  std::string path_;
};

/// Checks what several fields of a stage say together.
class StageChecks {
 public:
  StageChecks(const Recipe& recipe, std::size_t index, int smallest, std::string_view origin)
      : recipe_(recipe),
        stage_(recipe.stages[index]),
        is_first_(index == 0),
        smallest_(smallest),
        origin_(origin),
        path_(fmt::format("stages.{}.", index)) {}

  void run() const {
    sizes();
    const Start& start = stage_.start;
    if (is_first_ && start.kind == Start::Kind::uniform && start.low >= start.high)
      refuse("start", "low below high", fmt::format("{} and {}", start.low, start.high));
    plain_images();
    if (stage_.objective.minimise && !stage_.objective.before_relu)
      refuse("objective.minimise", "false unless before_relu is true", "true");
    if (stage_.regularisers.size() > kMostRegularisers)
      refuse("regularisers", fmt::format("at most {}", kMostRegularisers),
             std::to_string(stage_.regularisers.size()));
    if (!(stage_.transforms.empty() && stage_.kept_transforms.empty()) &&
        recipe_.iterations() > kMostTransformedIterations)
      refuse("iterations", fmt::format("at most {} in all with transforms", kMostTransformedIterations),
             std::to_string(recipe_.iterations()));
  }

 private:
  [[noreturn]] void refuse(std::string_view what, std::string_view expected, std::string_view found) const {
    refuse_value(origin_, path_ + std::string(what), expected, found);
  }

  void at_least_smallest(std::string_view what, Extent extent) const {
    if (std::min(extent.height, extent.width) < smallest_)
      refuse(what, fmt::format("at least {} in height and width, the network's smallest image", smallest_),
             size_text(extent));
  }

  void sizes() const {
    at_least_smallest("size", stage_.extent);
    const Transforms& transforms = stage_.transforms;
    if (transforms.border != Border::constant)
      refuse("transforms.border", "constant, since gradients pass through them",
             name_of(transforms.border, kBorders));
    walk("transforms", transforms);
    walk("kept_transforms", stage_.kept_transforms);
    const Extent canvas = canvas_extent(stage_);
    at_least_smallest("transforms (what the network sees)", canvas);
    if (std::max(canvas.height, canvas.width) > kLargestImage)
      refuse("transforms (what the network sees)", fmt::format("at most {}", kLargestImage),
             size_text(canvas));
  }

  /// Each transform within the image that the ones before it leave.
  void walk(std::string_view name, const Transforms& transforms) const {
    if (transforms.list.size() > kMostTransforms)
      refuse(fmt::format("{}.list", name), fmt::format("at most {}", kMostTransforms),
             std::to_string(transforms.list.size()));
    std::int64_t side = std::min(stage_.extent.height, stage_.extent.width);
    for (std::size_t i = 0; i < transforms.list.size(); ++i) {
      const Transform& transform = transforms.list[i];
      const std::string path = fmt::format("{}.list.{}", name, i);
      if (transform.kind == Transform::Kind::crop && 2 * transform.pixels >= side)
        refuse(path + ".pixels", fmt::format("less than half of the image's smaller side, {}", side),
               std::to_string(transform.pixels));
      if (transform.kind == Transform::Kind::jitter && transform.pixels > side)
        refuse(path + ".pixels", fmt::format("at most the image's smaller side, {}", side),
               std::to_string(transform.pixels));
      if (transform.kind == Transform::Kind::pad) side += 2 * transform.pixels;
      if (transform.kind == Transform::Kind::crop) side -= 2 * transform.pixels;
      if (&transforms == &stage_.transforms && transform.border)
        refuse(path + ".border", "none, since it is for kept_transforms",
               name_of(*transform.border, kBorders));
      if (&transforms == &stage_.kept_transforms &&
          side != std::min(stage_.extent.height, stage_.extent.width))
        refuse(path + ".kind", "jitter, scale, rotate or flip, which keep the image's size",
               name_of(transform.kind, kTransformKinds));
    }
  }

  /// What is done to the image itself needs parameters that are the image.
  void plain_images() const {
    const Parameterisation& of = stage_.parameterisation;
    if (of.kind == Parameterisation::Kind::pixels && of.colour == Parameterisation::Colour::as_is &&
        of.range == Parameterisation::Range::unbounded)
      return;
    constexpr std::string_view kOnly =
        "{} unless the parameterisation is of kind pixels, colour as_is and range unbounded";
    if (!stage_.kept_transforms.empty())
      refuse("kept_transforms.list", fmt::format(fmt::runtime(kOnly), "none"),
             counted(std::ssize(stage_.kept_transforms.list), "transform"));
    if (stage_.after_step.clip)
      refuse("after_step.clip", fmt::format(fmt::runtime(kOnly), "null"),
             fmt::format("[{}, {}]", stage_.after_step.clip->low, stage_.after_step.clip->high));
    if (stage_.after_step.blur_every > 0)
      refuse("after_step.blur_every", fmt::format(fmt::runtime(kOnly), "0"),
             std::to_string(stage_.after_step.blur_every));
  }

  const Recipe& recipe_;
  const Stage& stage_;
  bool is_first_;
  int smallest_;
  std::string_view origin_;
  std::string path_;
};

void check_picture(const Recipe& recipe, std::string_view origin) {
  const Picture& picture = recipe.picture;
  if (picture.kind == Picture::Kind::clip && picture.low >= picture.high)
    refuse_value(origin, "picture", "low below high", fmt::format("{} and {}", picture.low, picture.high));
  const Extent whole = picture.extent.value_or(recipe.last().extent);
  const int side = std::min(whole.height, whole.width);
  if (2 * picture.crop >= side)
    refuse_value(origin, "picture.crop",
                 fmt::format("less than half of the picture's smaller side, {}", side),
                 std::to_string(picture.crop));
}

}  // namespace

void require_valid(const Recipe& recipe, int smallest_image, std::string_view origin) {
  const std::string named = fmt::format("recipe {}", printable(recipe.name));
  if (origin.empty()) origin = named;
  Checker checker(origin, "");
  visit_fields(checker, recipe);
  std::int64_t iterations = 0;
  for (const Stage& stage : recipe.stages) iterations += stage.iterations;
  if (iterations > kMostIterations)
    refuse_value(origin, "stages", fmt::format("at most {} iterations in all", kMostIterations),
                 std::to_string(iterations));
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) StageChecks(recipe, i, smallest_image, origin).run();
  check_picture(recipe, origin);
}

}  // namespace filterscope
