#include "atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "error.h"
#include "exhaustion.h"

namespace filterscope {
namespace {

std::string advice(int error, std::string_view chosen_with) {
  const auto folder = [&](std::string_view what) { return fmt::format("{} with {}", what, chosen_with); };
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return folder("free some space or choose another folder");
    case EFBIG: {
      const std::string limit = file_size_advice();
      return limit.empty() ? folder("choose a folder of a file system that takes larger files") : limit;
    }
    case EACCES:
    case EPERM:
    case EROFS:
      return folder("choose a folder you may write to");
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
      return folder("something else has this name; move it away or choose another folder");
    default:
      return is_exhaustion(error) ? exhaustion_advice(error) : folder("choose another folder");
  }
}

// Temporary names are ".NAME.xxxxxxxx.tmp".
constexpr std::string_view kSuffix = ".tmp";
constexpr std::size_t kRandomDigits = 8;

bool is_temporary(std::string_view name) {
  if (!name.starts_with('.') || !name.ends_with(kSuffix)) return false;
  name.remove_suffix(kSuffix.size());
  const std::size_t dot = name.rfind('.');
  return dot > 1 && name.size() - dot - 1 == kRandomDigits &&
         name.find_first_not_of("0123456789abcdef", dot + 1) == std::string_view::npos;
}

/// What to do about a folder that the user owns but may not write to, perhaps because of an unusual umask.
std::string shut_folder_advice(const std::filesystem::path& folder) {
  struct stat status {};
  if (::stat(folder.empty() ? "." : folder.c_str(), &status) != 0 || status.st_uid != ::geteuid() ||
      (status.st_mode & 0300) == 0300)
    return "";
  return fmt::format("your folder {} has the permissions {:03o}: `chmod u+rwx` it, and see what `umask` is",
                     folder.string(), status.st_mode & 0777);
}

/// The part of `path`'s folder that is not a folder.
std::filesystem::path file_in_the_way(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::path way;
  for (const std::filesystem::path& part : path.parent_path()) {
    way /= part;
    if (const auto status = std::filesystem::status(way, ignored);
        std::filesystem::exists(status) && !std::filesystem::is_directory(status))
      return way;
  }
  return path;
}

}  // namespace

void throw_output_error(const std::filesystem::path& path, std::string_view what, int error,
                        std::string_view chosen_with) {
  const std::filesystem::path& culprit = error == ENOTDIR ? file_in_the_way(path) : path;
  const std::string shut = error == EACCES ? shut_folder_advice(path.parent_path()) : "";
  throw Error(
      ErrorKind::output,
      fmt::format("{}: {}: {}{}; {}", path.string(), what, culprit == path ? "" : culprit.string() + ": ",
                  std::generic_category().message(error), shut.empty() ? advice(error, chosen_with) : shut));
}

AtomicFile::AtomicFile(std::filesystem::path path, std::string_view chosen_with)
    : path_(std::move(path)), chosen_with_(chosen_with) {
  // Two runs into one folder, perhaps on two machines, must not share a temporary file.
  std::random_device random;
  for (int attempt = 0; descriptor_ < 0 && attempt < 100; ++attempt) {
    temporary_ = path_.parent_path() /
                 fmt::format(".{}.{:0{}x}{}", path_.filename().string(), random(), kRandomDigits, kSuffix);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) break;
  }
  if (descriptor_ < 0) throw_output_error(path_, "cannot create the file", errno, chosen_with_);
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
  descriptor_ = -1;
}

void AtomicFile::fail(int error) const {
  throw_output_error(path_, "cannot write the file", error, chosen_with_);
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(count < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void AtomicFile::commit() {
  // Some file systems report a full disk only here. The descriptor is gone even if close() fails.
  const int closed = ::close(std::exchange(descriptor_, -1));
  int error = closed != 0 ? errno : 0;
  if (error == 0 && ::rename(temporary_.c_str(), path_.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary_.c_str());
    fail(error);
  }
}

void write_file(const std::filesystem::path& path, std::span<const std::uint8_t> content) {
  AtomicFile file(path);
  file.append(std::as_bytes(content));
  file.commit();
}

void write_file(const std::filesystem::path& path, std::string_view content, std::string_view chosen_with) {
  AtomicFile file(path, chosen_with);
  file.append(std::as_bytes(std::span(content)));
  file.commit();
}

void create_folder(const std::filesystem::path& folder, std::string_view chosen_with) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  // create_directories() reports no error if a file has this name.
  std::error_code ignored;
  if (!error && !std::filesystem::is_directory(folder, ignored))
    error = std::make_error_code(std::errc::not_a_directory);
  if (error) throw_output_error(folder, "cannot create the folder", error.value(), chosen_with);
}

void remove_file(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) throw_output_error(path, "cannot remove the file", error.value());
}

void remove_leftovers(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> leftovers;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    if (is_temporary(entry->path().filename().string())) leftovers.push_back(entry->path());
  for (const auto& leftover : leftovers) std::filesystem::remove(leftover, error);
}

}  // namespace filterscope
