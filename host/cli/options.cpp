#include "options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cxxopts.hpp>

#include "../base/error.h"
#include "../base/nearest_name.h"

namespace filterscope::cli {

namespace {

constexpr std::size_t kHelpWidth = 100;
constexpr std::size_t kHelpColumn = 24;  // The column of the explanations.

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::usage, message);
}

cxxopts::Options make_options(const std::string& command, const std::vector<OptionSpec>& specs) {
  cxxopts::Options options(command);
  for (const OptionSpec& spec : specs) {
    if (spec.value.empty()) {
      options.add_option(spec.group, {spec.name, spec.help, cxxopts::value<bool>()});
    } else {
      options.add_option(spec.group, {spec.name, spec.help, cxxopts::value<std::string>(), spec.value});
    }
  }
  options.add_option("", {"h,help", "", cxxopts::value<bool>()});
  return options;
}

// Writes every option whose value may be left out as `--name=VALUE`.
std::vector<std::string> with_implicit_values(const std::vector<std::string>& arguments,
                                              const std::vector<OptionSpec>& specs) {
  std::vector<std::string> all;
  for (auto argument = arguments.begin(); argument != arguments.end(); ++argument) {
    if (*argument == "--") {
      all.insert(all.end(), argument, arguments.end());
      break;
    }
    all.push_back(*argument);
    const auto spec = std::ranges::find_if(specs, [&](const OptionSpec& known) {
      return !known.implicit.empty() && *argument == "--" + known.name;
    });
    if (spec == specs.end()) continue;
    const auto next = argument + 1;
    const bool given =
        next != arguments.end() &&
        (*next == spec->implicit || (!next->empty() && next->front() >= '0' && next->front() <= '9'));
    all.back() += "=" + (given ? *next : spec->implicit);
    if (given) ++argument;
  }
  return all;
}

// Breaks `text` into lines between kHelpColumn and kHelpWidth; the cursor is at kHelpColumn.
std::string wrapped(std::string_view text) {
  std::string lines;
  std::size_t column = kHelpColumn;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (column > kHelpColumn && column + 1 + word.size() > kHelpWidth) {
      lines += fmt::format("\n{:{}}", "", kHelpColumn);
      column = kHelpColumn;
    } else if (column > kHelpColumn) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += word.size();
  }
  return lines;
}

}  // namespace

std::optional<std::string> Arguments::value(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::nullopt : std::optional(found->second.back());
}

std::vector<std::string> Arguments::values(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

OptionTable::OptionTable(std::string command, std::vector<OptionSpec> specs)
    : command_(std::move(command)), specs_(std::move(specs)) {}

const OptionSpec* OptionTable::find(std::string_view name) const {
  const auto found = std::ranges::find(specs_, name, &OptionSpec::name);
  return found == specs_.end() ? nullptr : &*found;
}

Arguments OptionTable::parse(const std::vector<std::string>& given) const {
  const std::vector<std::string> arguments = with_implicit_values(given, specs_);
  require_known(arguments);
  std::vector<const char*> argv{command_.c_str()};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());

  cxxopts::Options options = make_options(command_, specs_);
  Arguments parsed;
  // The types of cxxopts' exceptions differ between its versions.
  try {
    const cxxopts::ParseResult result = options.parse(static_cast<int>(argv.size()), argv.data());
    for (const cxxopts::KeyValue& argument : result.arguments())
      parsed.values_[argument.key()].push_back(argument.value());
    parsed.positional_ = result.unmatched();
  } catch (const std::exception& exception) {
    fail(fmt::format("{}; `{} --help` lists the options", exception.what(), command_));
  }
  return parsed;
}

// Runs before cxxopts, whose messages name options without their dashes and do not say what was expected, and
// which takes `--raw=false` as --raw.
void OptionTable::require_known(const std::vector<std::string>& arguments) const {
  const std::string hint = fmt::format("`{} --help` lists the options", command_);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") break;
    if (!argument.starts_with('-') || argument == "-" || argument == "-h") continue;
    const std::size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    const std::string name = flag.substr(std::min(flag.size(), flag.find_first_not_of('-')));
    const OptionSpec* spec = find(name);

    if (!flag.starts_with("--") || (spec == nullptr && name != "help")) {
      std::vector<std::string> known{"help"};
      for (const OptionSpec& candidate : specs_) known.push_back(candidate.name);
      const auto nearest = nearest_name(name, known);
      fail(fmt::format("unknown option {}{}; {}", flag,
                       nearest ? fmt::format("; did you mean --{}?", *nearest) : "", hint));
    }
    const bool is_switch = spec == nullptr || spec->value.empty();
    if (is_switch && equals != std::string::npos) {
      fail(fmt::format("{}: expected no value, found \"{}\"; {}", flag, argument.substr(equals + 1), hint));
    }
    if (is_switch || equals != std::string::npos) continue;
    if (i + 1 == arguments.size()) {
      fail(fmt::format("{}: expected a value ({}), found the end of the line; {}", flag, spec->value, hint));
    }
    ++i;
  }
}

// Replaces cxxopts' own text, which aligns the second column separately in every group.
std::string OptionTable::help() const {
  std::vector<OptionSpec> rows = specs_;
  rows.push_back({"Other", "help", "", "Print this help (also -h)"});

  std::vector<std::string> groups;
  for (const OptionSpec& row : rows) {
    if (std::ranges::find(groups, row.group) == groups.end()) groups.push_back(row.group);
  }
  std::string text;
  for (const std::string& group : groups) {
    text += fmt::format("{}{} options\n", text.empty() ? "" : "\n", group);
    for (const OptionSpec& row : rows) {
      if (row.group != group) continue;
      const std::string flag = fmt::format("  --{}{}{}", row.name, row.value.empty() ? "" : " ", row.value);
      if (flag.size() < kHelpColumn - 1) {
        text += fmt::format("{:<{}}", flag, kHelpColumn);
      } else {
        text += fmt::format("{}\n{:{}}", flag, "", kHelpColumn);
      }
      text += wrapped(row.help) + "\n";
    }
  }
  return text;
}

std::int64_t parse_integer(std::string_view flag, std::string_view text, std::int64_t low,
                           std::int64_t high) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    fail(fmt::format("{}: expected a whole number from {} to {}, found \"{}\"", flag, low, high, text));
  }
  return value;
}

std::uint64_t parse_seed(std::string_view flag, std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    fail(fmt::format("{}: expected a whole number from 0 to {}, found \"{}\"", flag, UINT64_MAX, text));
  }
  return value;
}

float parse_positive(std::string_view flag, std::string_view text) {
  float value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value) || value <= 0) {
    fail(fmt::format("{}: expected a finite number above 0, found \"{}\"", flag, text));
  }
  return value;
}

bool parse_switch(std::string_view flag, std::string_view text) {
  if (text != "on" && text != "off") fail(fmt::format("{}: expected on or off, found \"{}\"", flag, text));
  return text == "on";
}

std::string parse_path(std::string_view flag, std::string_view what, const std::string& text) {
  if (text.empty()) fail(fmt::format("{}: expected {}, found nothing", flag, what));
  if (text.starts_with("--")) {
    fail(fmt::format("{0}: expected {1}, found \"{2}\"; for a path of that name write {0} ./{2}", flag, what,
                     text));
  }
  return text;
}

std::string option_library_version() {
  return fmt::format("{}.{}.{}", cxxopts::version.major, cxxopts::version.minor, cxxopts::version.patch);
}

}  // namespace filterscope::cli
