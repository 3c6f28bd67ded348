#pragma once

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "host/base/error.h"
#include "host/output/png.h"

namespace filterscope {

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);

/// All files below `folder`, relative to it, in alphabetical order.
std::vector<std::string> files_below(const std::filesystem::path& folder);

/// Decodes a PNG file with another library; fails the test if that fails.
RgbImage decode_png(const std::filesystem::path& path);

/// The same for a JPEG file.
RgbImage decode_jpeg(const std::filesystem::path& path);

/// The message of the Error that `action` throws; fails the test if it throws none or one of another kind.
std::string error_of(ErrorKind kind, const std::function<void()>& action);

/// During its lifetime, no file of this process may grow beyond `bytes`, so that writing fails half-way, as
/// on a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace filterscope
