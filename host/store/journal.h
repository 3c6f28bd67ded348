#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace filterscope {

/// A file to which lines are appended, and a lock: only one Journal of a path can be there at a time,
/// whatever the process. An empty file goes with the object.
///
/// A line is complete once append() returns, and stays so even when the process is killed then. A process
/// that is killed within append() leaves part of a line, without its line feed, at the end of the file.
class Journal {
 public:
  /// Opens the file, or creates it. An output Error when that fails, or when another Journal has it.
  explicit Journal(std::filesystem::path path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Adds `line`, which must not hold a line feed, and a line feed. When that fails (an output Error) the
  /// file is as it was before.
  void append(std::string_view line);
  /// Empties the file.
  void clear();
  /// Removes the file, and with it the lock. Nothing may be appended after it.
  void remove();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;  ///< Of the complete lines.
};

}  // namespace filterscope
