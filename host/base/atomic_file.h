#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace filterscope {

/// A file that appears under its name whole or not at all: it is written to the same folder under a temporary
/// name (hidden, ending in ".tmp") and renamed by commit(). Without commit() the destructor removes it. Every
/// failure (no such folder, no permission, disk full) is an output Error that names the path, the system's
/// reason and what to do: usually to choose another folder, with `chosen_with`.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path, std::string_view chosen_with = "--out");
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& path() const { return path_; }

  void append(std::span<const std::byte> bytes);
  /// Gives the file its name, replacing a file of that name. Call append() no more.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  void discard() noexcept;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::string chosen_with_;
  int descriptor_ = -1;
};

/// Writes a whole AtomicFile.
void write_file(const std::filesystem::path& path, std::span<const std::uint8_t> content);
void write_file(const std::filesystem::path& path, std::string_view content,
                std::string_view chosen_with = "--out");

/// Creates `folder` and those above it; an output Error if that fails or if something else has the name of
/// one of them.
void create_folder(const std::filesystem::path& folder, std::string_view chosen_with = "--out");

/// Removes a file, if it is there; an output Error when that fails.
void remove_file(const std::filesystem::path& path);

/// Removes the temporary files of processes that were killed from `folder`, which need not exist. No other
/// process may be writing there.
void remove_leftovers(const std::filesystem::path& folder);

/// Throws an output Error that names `path`, what was attempted, the system's reason for `error` (an errno)
/// and what to do.
[[noreturn]] void throw_output_error(const std::filesystem::path& path, std::string_view what, int error,
                                     std::string_view chosen_with = "--out");

}  // namespace filterscope
