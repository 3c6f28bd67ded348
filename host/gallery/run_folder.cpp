#include "run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "../error.h"

namespace filterscope {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int kLargestExtent =
    16384;  ///< Larger pictures are not made; the bound keeps sizes far from overflow.

[[noreturn]] void fail(const fs::path& file, const std::string& message) {
  throw Error(ErrorKind::input, fmt::format("{}: {}", file.string(), message));
}

std::optional<std::string> read_file(const fs::path& path) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    fail(path, fmt::format("cannot read the file: {}", std::generic_category().message(errno)));
  }
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  // A folder of that name opens, but cannot be read.
  if (stream.bad() || fs::is_directory(path)) fail(path, "cannot read the file");
  return text;
}

/// A JSON value that knows where it stands in which file, so that what does not fit can be named.
class Member {
 public:
  Member(const Json& value, const fs::path& file, std::string name)
      : value_(value), file_(file), name_(std::move(name)) {}

  Member operator[](const char* key) const {
    expect(value_.is_object(), "an object");
    const auto found = value_.find(key);
    if (found == value_.end()) fail(file_, fmt::format("\"{}\" is missing; {}", below(key), kAdvice));
    return {*found, file_, below(key)};
  }
  bool has(const char* key) const {
    return value_.is_object() && value_.contains(key) && !value_[key].is_null();
  }

  const Json& json() const { return value_; }
  bool null() const { return value_.is_null(); }
  std::string text() const {
    expect(value_.is_string(), "a string");
    return value_.get<std::string>();
  }
  std::string text_or_empty() const { return null() ? "" : text(); }
  bool boolean() const {
    expect(value_.is_boolean(), "true or false");
    return value_.get<bool>();
  }
  int integer(int low, int high) const {
    const bool fits =
        value_.is_number_integer() && value_.get<std::int64_t>() >= low && value_.get<std::int64_t>() <= high;
    expect(fits, fmt::format("a whole number from {} to {}", low, high));
    return value_.get<int>();
  }
  std::uint64_t seed() const {
    expect(value_.is_number_unsigned(), "a whole number without sign");
    return value_.get<std::uint64_t>();
  }
  /// NaN where the manifest has null: not finite, or not known.
  float number() const {
    if (null()) return FilterEntry::kUnknown;
    expect(value_.is_number(), "a number or null");
    return value_.get<float>();
  }
  template <typename Visit>
  void each(Visit visit) const {
    expect(value_.is_array(), "an array");
    for (std::size_t i = 0; i < value_.size(); ++i)
      visit(Member(value_[i], file_, fmt::format("{}[{}]", name_, i)));
  }

  void expect(bool holds, std::string_view expected) const {
    if (holds) return;
    std::string found = value_.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (found.size() > kLongestQuote) found = found.substr(0, kLongestQuote) + " ...";
    fail(file_, fmt::format("\"{}\": expected {}, found {}; {}", name_, expected, found, kAdvice));
  }

 private:
  static constexpr std::size_t kLongestQuote = 40;
  static constexpr std::string_view kAdvice =
      "the file is damaged or from another version; render into the folder again";

  std::string below(const char* key) const { return name_.empty() ? key : fmt::format("{}.{}", name_, key); }

  const Json& value_;
  const fs::path& file_;
  std::string name_;
};

Network network_named(const Member& name) {
  std::string known;
  for (const int depth : {11, 13, 16, 19}) {
    Network network = vgg(depth);
    if (network.name == name.text()) return network;
    known += (known.empty() ? "" : ", ") + network.name;
  }
  name.expect(false, fmt::format("one of {}", known));
  return {};
}

std::optional<FilterStatus> status_of(const Member& status) {
  const std::string text = status.text();
  for (const FilterStatus known : {FilterStatus::ok, FilterStatus::dead, FilterStatus::nonfinite})
    if (text == to_string(known)) return known;
  status.expect(text == "missing", "one of ok, dead, nonfinite, missing");
  return std::nullopt;
}

FilterEntry filter_of(const Member& record, const Network& network) {
  FilterEntry entry;
  const auto layer = network.find(record["layer"].text());
  record["layer"].expect(layer.has_value(), fmt::format("a layer of {}", network.name));
  const Convolution& convolution = network.convolutions[static_cast<std::size_t>(*layer)];
  entry.id = {*layer, record["filter"].integer(0, convolution.out_channels - 1)};
  entry.seed = record["seed"].seed();
  entry.status = status_of(record["status"]);
  if (!entry.status) return entry;

  entry.iterations = record["iterations"].integer(0, std::numeric_limits<int>::max());
  entry.first_loss = record["first_loss"].number();
  entry.final_loss = record["final_loss"].number();
  entry.gradient_norm = record["last_gradient_norm"].number();
  entry.file = record["file"].text();
  const fs::path file(entry.file);
  const bool inside = !file.empty() && file.is_relative() && std::ranges::find(file, "..") == file.end();
  record["file"].expect(inside, "a path within the folder");
  return entry;
}

template <typename Number>
bool parse(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

void read_traces(RunFolder& run) {
  const fs::path file = run.folder / "traces.csv";
  const std::optional<std::string> content = read_file(file);
  if (!content) return;
  run.traced = true;

  std::string_view rest = *content;
  auto entry = run.filters.begin();
  for (int number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto refuse = [&](std::string_view expected) {
      fail(file, fmt::format("line {}: expected {}, found \"{}\"; remove the file to do without curves",
                             number, expected, line.substr(0, 80)));
    };
    if (number == 1) {
      if (line != "layer,filter,iteration,loss") refuse("the heading layer,filter,iteration,loss");
      continue;
    }
    std::array<std::string_view, 4> fields;
    std::string_view left = line;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const std::size_t comma = i + 1 < fields.size() ? std::min(left.find(','), left.size()) : left.size();
      fields[i] = left.substr(0, comma);
      left.remove_prefix(std::min(comma + 1, left.size()));
    }
    const auto layer = run.network.find(fields[0]);
    FilterId id{layer.value_or(0), 0};
    TracePoint point{};
    if (!layer || !parse(fields[1], id.filter) || !parse(fields[2], point.iteration) ||
        !parse(fields[3], point.loss))
      refuse("layer,filter,iteration,loss");
    // Lines of one filter follow each other.
    if (entry == run.filters.end() || entry->id != id) {
      entry = std::ranges::lower_bound(run.filters, id, {}, &FilterEntry::id);
      if (entry == run.filters.end() || entry->id != id) refuse("a filter that manifest.json names");
    }
    if (!entry->trace.empty() && entry->trace.back().iteration >= point.iteration)
      refuse("ascending iterations of each filter");
    entry->trace.push_back(point);
  }
}

/// A text more in a list, once.
void add_text(std::string& list, const std::string& text, std::string_view separator) {
  if (list.find(text) != std::string::npos) return;
  if (!list.empty()) list += separator;
  list += text;
}

}  // namespace

std::vector<CurvePoint> loss_curve(const FilterEntry& entry) {
  std::vector<CurvePoint> curve;
  if (!entry.status) return curve;
  curve.push_back({0, entry.first_loss});
  for (const TracePoint& point : entry.trace)
    if (point.iteration > 1 && point.iteration <= entry.iterations)
      curve.push_back({point.iteration - 1, point.loss});
  if (entry.iterations > 0) curve.push_back({entry.iterations, entry.final_loss});
  return curve;
}

RunFolder read_run_folder(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    fail(folder, "no such folder; name one that `filterscope render --out` wrote");
  const fs::path file = folder / "manifest.json";
  const std::optional<std::string> text = read_file(file);
  if (!text) {
    fail(file, "no such file; name a folder that `filterscope render --out` wrote, or render into this one");
  }
  Json json;
  try {
    json = Json::parse(*text);
  } catch (const Json::parse_error& error) {
    fail(file, fmt::format("not JSON at byte {} of {}; the file is damaged, render into the folder again",
                           error.byte, text->size()));
  }

  const Member manifest(json, file, "");
  manifest["program"].expect(manifest["program"].text() == "filterscope", "\"filterscope\"");
  RunFolder run;
  run.folder = folder;
  run.version = manifest["version"].text();
  manifest["command_lines"].each([&](const Member& line) { add_text(run.command_line, line.text(), "; "); });
  run.started = manifest["started"].text();
  run.complete = manifest["complete"].boolean();
  run.network = network_named(manifest["network"]);
  run.weights_name = manifest["weights"]["name"].text();
  run.weights_sha256 = manifest["weights"]["sha256"].text_or_empty();
  run.synthetic = manifest["weights"]["synthetic"].boolean();
  run.recipe_name = manifest["recipe"]["name"].text();
  run.recipe_json = manifest["recipe"].json().dump(-1, ' ', false, Json::error_handler_t::replace);
  run.extent = {manifest["size"]["height"].integer(1, kLargestExtent),
                manifest["size"]["width"].integer(1, kLargestExtent)};
  run.iterations = manifest["iterations"].integer(0, std::numeric_limits<int>::max());
  run.seed = manifest["seed"].seed();
  manifest["engines"].each([&](const Member& engine) {
    add_text(run.device, engine["device"].text(), ", ");
    add_text(run.device_name, engine["device_name"].text(), ", ");
    run.precision = engine["precision"].text();
  });
  if (manifest.has("wall_seconds")) run.wall_seconds = manifest["wall_seconds"].number();

  manifest["filters"].each([&](const Member& record) {
    run.filters.push_back(filter_of(record, run.network));
    if (run.filters.size() > 1)
      record.expect(run.filters[run.filters.size() - 2].id < run.filters.back().id,
                    "filters in ascending order");
  });
  read_traces(run);
  return run;
}

}  // namespace filterscope
