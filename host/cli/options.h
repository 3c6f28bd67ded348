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
  std::string group;  ///< Its heading in the help.
  std::string name;   ///< Without dashes.
  std::string value;  ///< The placeholder for its value in the help, such as "N"; empty: a switch.
  std::string help;
  /// Its value if it is given without one; empty: it needs one. The next argument is taken as its value only
  /// if it equals this one or begins with a digit.
  std::string implicit = {};
};

/// The parsed arguments of a subcommand.
class Arguments {
 public:
  bool has(std::string_view name) const { return values_.contains(name); }
  /// The last value given for the option; none if it was not given.
  std::optional<std::string> value(std::string_view name) const;
  /// All of them, in order.
  std::vector<std::string> values(std::string_view name) const;
  const std::vector<std::string>& positional() const { return positional_; }

 private:
  friend class OptionTable;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> positional_;
};

/// The options of one subcommand; `--help` is added to them.
class OptionTable {
 public:
  OptionTable(std::string command, std::vector<OptionSpec> specs);

  /// Options may appear anywhere among the positional arguments; after `--` everything is positional. Throws
  /// a usage Error that names the flag, what was expected and what was found.
  Arguments parse(const std::vector<std::string>& arguments) const;

  /// The options, in the order of the table, under their headings.
  std::string help() const;

 private:
  void require_known(const std::vector<std::string>& arguments) const;
  const OptionSpec* find(std::string_view name) const;

  std::string command_;
  std::vector<OptionSpec> specs_;
};

/// The value of an integer option within [low, high]. Anything else is a usage Error that names `flag`, the
/// range and `text`.
std::int64_t parse_integer(std::string_view flag, std::string_view text, std::int64_t low, std::int64_t high);
/// Any unsigned 64-bit number, in decimal.
std::uint64_t parse_seed(std::string_view flag, std::string_view text);
/// A finite number above zero.
float parse_positive(std::string_view flag, std::string_view text);
/// True for "on", false for "off". Anything else is a usage Error that names `flag` and `text`.
bool parse_switch(std::string_view flag, std::string_view text);
/// A path. Must not be empty, nor the name of a flag, which means that the value of `flag` was forgotten.
std::string parse_path(std::string_view flag, std::string_view what, const std::string& text);

/// The version of cxxopts.
std::string option_library_version();

}  // namespace filterscope::cli
