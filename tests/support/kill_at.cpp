// A preloaded library that kills the process just before its FILTERSCOPE_KILL_AT-th change to a file system
// (from 1; never if the variable is not set), so that a test can stop a program between any two changes.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdlib>

namespace {

void count() {
  static const long last = [] {
    const char* text = std::getenv("FILTERSCOPE_KILL_AT");
    return text == nullptr ? 0L : std::atol(text);
  }();
  static std::atomic<long> changes = 0;
  if (++changes == last) kill(getpid(), SIGKILL);
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

bool is_file(int descriptor) {
  struct stat status {};
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

extern "C" {

int rename(const char* from, const char* to) {
  count();
  return next<int(const char*, const char*)>("rename")(from, to);
}
int unlink(const char* path) {
  count();
  return next<int(const char*)>("unlink")(path);
}
int remove(const char* path) {
  count();
  return next<int(const char*)>("remove")(path);
}
int mkdir(const char* path, mode_t mode) {
  count();
  return next<int(const char*, mode_t)>("mkdir")(path, mode);
}
int ftruncate(int descriptor, off_t size) {
  count();
  return next<int(int, off_t)>("ftruncate")(descriptor, size);
}
ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (is_file(descriptor)) count();
  return next<ssize_t(int, const void*, size_t)>("write")(descriptor, bytes, size);
}
int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if ((flags & O_CREAT) != 0) count();
  return next<int(const char*, int, ...)>("open")(path, flags, mode);
}
}
