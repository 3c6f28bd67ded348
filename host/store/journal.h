#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace filterscope {

/// A file to which lines are appended, and a lock: only one Journal of a path can exist at a time, across
/// processes. The destructor removes an empty file.
///
/// A line is complete once append() returns, even if the process is killed afterwards. A process that is
/// killed within append() leaves part of a line, without its line feed, at the end of the file.
class Journal {
 public:
  /// Opens the file, or creates it. An output Error if that fails, or if another Journal has it open.
  explicit Journal(std::filesystem::path path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Appends `line`, which must not contain a line feed, and a line feed. If that fails (an output Error),
  /// the file is unchanged.
  void append(std::string_view line);
  /// Empties the file.
  void clear();
  /// Removes the file, and with it the lock. Call append() no more.
  void remove();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;  ///< Bytes of complete lines.
};

}  // namespace filterscope
