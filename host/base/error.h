#pragma once

#include <stdexcept>
#include <string>

namespace filterscope {

/// What an Error is about. The numbers are the exit codes of the command line.
enum class ErrorKind {
  usage = 2,   ///< An invalid flag or selector.
  input = 3,   ///< Weights or another input file: missing, damaged, of another network.
  device = 4,  ///< The requested device or precision is unavailable, or failed.
  output = 5,  ///< A result could not be written.
};

/// Thrown by public functions for conditions that the user can act on. `what()` names the flag, file, layer
/// or dataset, what was expected, what was found, and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }
  int exit_code() const noexcept { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

}  // namespace filterscope
