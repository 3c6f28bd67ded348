#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace filterscope::cuda {

/// The fastest plans that earlier runs found, by problem, in one file for each environment (device and
/// versions of what compiles and runs the kernels). An entry is a hint: its user checks that the plan is
/// still offered. A file that is damaged, or from another environment or format, counts as empty and is
/// replaced. Several processes may use one folder. The file is replaced atomically and keeps what others have
/// added meanwhile. Of two processes that save at the same instant, one may lose its plans, which are then
/// timed again. Not thread-safe.
class PlanCache {
 public:
  struct Entry {
    std::string plan;         ///< Empty if no plan works.
    double milliseconds = 0;  ///< As it was timed.
    /// The time that compiling it takes in every process.
    double setup_seconds = 0;
    bool operator==(const Entry&) const = default;
  };
  using Entries = std::map<std::string, Entry>;
  using Environment = std::map<std::string, std::string>;

  /// Reads the file. Without a folder (an empty path), plans are kept for the lifetime of the object. `warn`
  /// is called once if the file cannot be written; that is no error.
  PlanCache(std::filesystem::path folder, Environment environment,
            std::function<void(const std::string&)> warn = warn_on_stderr);

  /// Null if there is no entry. Valid until the next call of store() or save().
  const Entry* find(const std::string& problem) const;
  /// Replaces the entry of `problem`.
  void store(const std::string& problem, Entry entry);
  /// Writes what has been stored since the last call, if anything.
  void save();

  /// For display: the file's path and the number of its timings.
  std::string describe() const;
  /// This environment's file; empty without a folder.
  const std::filesystem::path& path() const { return path_; }

  static void warn_on_stderr(const std::string& message);

 private:
  Entries read() const;

  std::filesystem::path path_;
  Environment environment_;
  std::function<void(const std::string&)> warn_;
  bool warned_ = false;
  Entries entries_;
  Entries unsaved_;
};

/// filterscope's cache folder: $XDG_CACHE_HOME/filterscope, else ~/.cache/filterscope; empty if neither is
/// known.
std::filesystem::path cache_folder();

}  // namespace filterscope::cuda
