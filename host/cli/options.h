#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace filterscope::cli {

/// One option of a subcommand, for parsing and for its help.
struct OptionSpec {
  std::string group;  ///< The heading it stands under.
  std::string name;   ///< Without dashes.
  std::string value;  ///< What stands for its value in the help, such as "N"; empty: a switch.
  std::string help;
  /// Its value where it is given without one; empty: it needs one. What follows on the command line is its
  /// value only if it is this one or begins with a digit.
  std::string implicit = {};
};

/// What a subcommand was given.
class Arguments {
 public:
  bool has(std::string_view name) const { return values_.contains(name); }
  /// The last value given for the option; none when it was not given.
  std::optional<std::string> value(std::string_view name) const;
  const std::vector<std::string>& positional() const { return positional_; }

 private:
  friend class OptionTable;
  std::map<std::string, std::string, std::less<>> values_;
  std::vector<std::string> positional_;
};

/// The options of one subcommand. `--help` is among them without being listed.
class OptionTable {
 public:
  OptionTable(std::string command, std::vector<OptionSpec> specs);

  /// Options may stand anywhere between the positional arguments; after `--` everything is positional. What
  /// does not fit is a usage Error naming the flag, what was expected and what was found.
  Arguments parse(const std::vector<std::string>& arguments) const;

  /// The options under their headings, in the order of the table.
  std::string help() const;

 private:
  void require_known(const std::vector<std::string>& arguments) const;
  const OptionSpec* find(std::string_view name) const;

  std::string command_;
  std::vector<OptionSpec> specs_;
};

/// The value of a numeric option within [low, high]. Anything else is a usage Error naming `flag`, the range
/// and `text`.
std::int64_t parse_integer(std::string_view flag, std::string_view text, std::int64_t low, std::int64_t high);
/// Any 64-bit number without sign, decimal.
std::uint64_t parse_seed(std::string_view flag, std::string_view text);
/// A finite number above zero.
float parse_positive(std::string_view flag, std::string_view text);
/// True for "on", false for "off". Anything else is a usage Error naming `flag` and `text`.
bool parse_switch(std::string_view flag, std::string_view text);
/// A path: not empty, and not the name of a flag whose predecessor lacks its value.
std::string parse_path(std::string_view flag, std::string_view what, const std::string& text);

/// Version of the library that parses options.
std::string option_library_version();

}  // namespace filterscope::cli
