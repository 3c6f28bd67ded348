#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace filterscope::cuda {

/// Plans that earlier runs found to be the fastest, by problem, in a file of their own for each environment
/// (device and versions of what compiles and runs the kernels). What the file holds is a hint: whoever uses a
/// plan checks that it is still offered. A file that is damaged, of another environment or of another format
/// counts as empty and is replaced.
///
/// Several processes may use one folder. The file appears whole, with what others have added meanwhile; of
/// two that save in the same instant one may lose its plans, which are then timed again. For one thread at a
/// time.
class PlanCache {
 public:
  struct Entry {
    std::string plan;         ///< Empty: none works.
    double milliseconds = 0;  ///< As it was timed.
    /// What it takes to compile it, in every process.
    double setup_seconds = 0;
    bool operator==(const Entry&) const = default;
  };
  using Entries = std::map<std::string, Entry>;
  using Environment = std::map<std::string, std::string>;

  /// Reads what is there. Without a folder (an empty path) plans are kept for the life of the object. `warn`
  /// is told once if the file cannot be written; nothing else comes of that.
  PlanCache(std::filesystem::path folder, Environment environment,
            std::function<void(const std::string&)> warn = warn_on_stderr);

  /// Null if there is none. Valid until the next call of store() or save().
  const Entry* find(const std::string& problem) const;
  /// Replaces what was there.
  void store(const std::string& problem, Entry entry);
  /// Writes what has been stored since the last time, if anything.
  void save();

  /// For people: where the file is, and how many timings it holds.
  std::string describe() const;
  /// Of this environment's file. Empty without a folder.
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

/// filterscope's folder for what can be made again: $XDG_CACHE_HOME/filterscope, else ~/.cache/filterscope;
/// empty where neither is known.
std::filesystem::path cache_folder();

}  // namespace filterscope::cuda
