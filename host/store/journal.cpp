#include "journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "../base/atomic_file.h"
#include "../base/error.h"

namespace filterscope {
namespace {

/// Whether `path` is still the file that was opened: its last owner may have removed it before releasing the
/// lock.
bool has_its_name(int descriptor, const std::filesystem::path& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

Journal::Journal(std::filesystem::path path) : path_(std::move(path)) {
  while (descriptor_ < 0) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor_ < 0) {
      if (errno == EINTR) continue;
      throw_output_error(path_, "cannot open the file", errno);
    }
    // File systems without locks are used without one.
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(std::exchange(descriptor_, -1));
      throw Error(ErrorKind::output,
                  fmt::format("{}: another filterscope is writing to this folder; wait until it is done, or "
                              "choose another folder with --out",
                              path_.parent_path().string()));
    }
    if (!has_its_name(descriptor_, path_)) ::close(std::exchange(descriptor_, -1));
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0) size_ = static_cast<std::uint64_t>(status.st_size);
}

Journal::~Journal() {
  if (descriptor_ < 0) return;
  if (size_ == 0) ::unlink(path_.c_str());
  ::close(descriptor_);
}

void Journal::append(std::string_view line) {
  std::string text(line);
  text += '\n';
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t count = ::write(descriptor_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : ENOSPC;
      // If this fails too, the next line ends the torn one, and readers stop there.
      [[maybe_unused]] const int truncated = ::ftruncate(descriptor_, static_cast<off_t>(size_));
      throw_output_error(path_, "cannot write the file", error);
    }
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  size_ += text.size();
}

void Journal::clear() {
  if (::ftruncate(descriptor_, 0) != 0) throw_output_error(path_, "cannot write the file", errno);
  size_ = 0;
}

void Journal::remove() {
  // In this order: once the lock is released, another process may use the name.
  if (::unlink(path_.c_str()) != 0) throw_output_error(path_, "cannot remove the file", errno);
  ::close(std::exchange(descriptor_, -1));
}

}  // namespace filterscope
