#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace filterscope {

/// A file that appears under its name whole or not at all: it is written beside it under a temporary name
/// (hidden, ending in ".tmp") and renamed by commit(). Without commit() the destructor removes it. Everything
/// that fails (no such folder, no permission, disk full) is an output Error that names the path, the system's
/// reason and what to do: mostly to choose another folder, with `chosen_with`.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path, std::string_view chosen_with = "--out");
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

  void append(std::span<const std::byte> bytes);
  /// Gives the file its name, replacing a file of that name. Nothing may be written after it.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  void discard() noexcept;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::string chosen_with_;
  int descriptor_ = -1;
};

/// The whole content of `path` at once, as AtomicFile does it.
void write_file(const std::filesystem::path& path, std::span<const std::uint8_t> content);
void write_file(const std::filesystem::path& path, std::string_view content,
                std::string_view chosen_with = "--out");

/// Creates `folder` and those above it; an output Error when that fails or something else of that name is in
/// the way.
void create_folder(const std::filesystem::path& folder, std::string_view chosen_with = "--out");

/// Removes the temporary files that AtomicFile left in `folder` because the process was killed. No other
/// process may write there meanwhile. Nothing happens where there is no such folder.
void remove_leftovers(const std::filesystem::path& folder);

/// Of an operation on `path`: names it, what was attempted, the system's reason for `error` (an errno) and
/// what to do.
[[noreturn]] void throw_output_error(const std::filesystem::path& path, std::string_view what, int error,
                                     std::string_view chosen_with = "--out");

}  // namespace filterscope
