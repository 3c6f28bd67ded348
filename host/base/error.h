#pragma once

#include <stdexcept>
#include <string>

namespace filterscope {

/// What kind of mistake an Error reports. The numbers are the exit codes of the command line.
enum class ErrorKind {
  usage = 2,   ///< A flag or a selector that makes no sense.
  input = 3,   ///< Weights or another input file: missing, damaged, of another network.
  device = 4,  ///< The device or precision asked for is not there, or failed.
  output = 5,  ///< A result could not be written.
};

/// Thrown by every public function for conditions the user can act on. `what()` is one message that names the
/// flag, file, layer or dataset, what was expected, what was found, and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }
  int exit_code() const noexcept { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

}  // namespace filterscope
