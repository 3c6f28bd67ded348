#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <sstream>
#include <utility>

#include "../../base/error.h"
#include "../../base/exhaustion.h"
#include "formats.h"

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif
#else
constexpr bool kAddressSanitizer = false;
#endif

enum class State : std::uint32_t { running, finished, refused };

/// What the child writes and the parent reads. In the shared memory, flags of which layers are present and
/// the values follow it.
struct Report {
  std::atomic<State> state;
  Images images;
  char at[256];
  char message[4096];
  char conversions[1024];  ///< One per line.
  char notes[4096];        ///< One per line.

  static void put(char* text, std::size_t size, std::string_view value) {
    const std::size_t length = std::min(value.size(), size - 1);
    std::memcpy(text, value.data(), length);
    text[length] = '\0';
  }
  static void put_lines(char* text, std::size_t size, const std::vector<std::string>& lines) {
    put(text, size, fmt::format("{}", fmt::join(lines, "\n")));
  }
  static std::vector<std::string> lines_of(std::string_view text) {
    std::istringstream stream{std::string(text)};
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }
};

/// Memory that a forked child shares with its parent.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t size)
      : size_(size), start_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
  ~SharedMemory() {
    if (*this) munmap(start_, size_);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  explicit operator bool() const { return start_ != MAP_FAILED; }
  std::byte* data() const { return static_cast<std::byte*>(start_); }

 private:
  std::size_t size_;
  void* start_;
};

/// Offsets in the shared memory, and its size.
struct Layout {
  explicit Layout(const Network& network)
      : flags(sizeof(Report)),
        values((flags + network.convolutions.size() + 63) / 64 * 64),
        size(values + sizeof(float) * static_cast<std::size_t>(network.parameters())) {}
  std::size_t flags;
  std::size_t values;
  std::size_t size;
};

/// Bytes of address space that this process uses; 0 if unknown.
std::uint64_t address_space() {
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[64] = {};
  const ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  return length <= 0 ? 0
                     : std::strtoull(text, nullptr, 10) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

/// Bytes of address space that a child forked now may use; 0 if unknown.
std::uint64_t address_space_of_child(const Layout& layout, const ChildLimits& limits) {
  const std::uint64_t now = address_space();
  return now == 0 ? 0 : now + 3 * (layout.size - layout.values) + limits.scratch_bytes;
}

/// Whether this process's own limits leave a child less memory than it may use.
bool is_memory_short(const Layout& layout, const ChildLimits& limits) {
  const std::uint64_t most = address_space_of_child(layout, limits);
  return std::ranges::any_of(std::array{RLIMIT_AS, RLIMIT_DATA}, [&](auto resource) {
    rlimit own{};
    return getrlimit(resource, &own) == 0 && own.rlim_cur < most;
  });
}

void limit(decltype(RLIMIT_CPU) resource, rlim_t soft, rlim_t hard) {
  rlimit limits{};
  if (getrlimit(resource, &limits) != 0) return;
  limits.rlim_max = std::min(hard, limits.rlim_max);
  limits.rlim_cur = std::min(soft, limits.rlim_max);
  setrlimit(resource, &limits);
}

/// Makes this process, the child, expendable: it ends by itself, leaves no core file and prints nothing.
void restrain(const Layout& layout, const ChildLimits& limits) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGXCPU, SIG_DFL);
  limit(RLIMIT_CORE, 0, 0);
  limit(RLIMIT_CPU, limits.processor_seconds, limits.processor_seconds + 2);
  // The address sanitizer reserves terabytes of address space, and must print its reports.
  if (kAddressSanitizer) return;
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) signal(fault, SIG_DFL);
  if (const std::uint64_t most = address_space_of_child(layout, limits); most != 0)
    limit(RLIMIT_AS, most, most);
  if (const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC); nowhere >= 0) {
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
  }
}

/// The child's exit codes; anything else is a crash.
enum ExitCode { kReported = 0, kOutOfMemory = 2, kUnexpected = 3 };

/// The child. It has only one thread of a process that may have had many, so it must not rely on a lock that
/// another thread might have held. It allocates (which glibc makes safe after fork), reads the file, and
/// exits without clean-up.
[[noreturn]] void run_child(const Network& network, const std::function<FileContents(const At& at)>& reader,
                            const ChildLimits& limits, std::byte* memory) {
  Report& report = *reinterpret_cast<Report*>(memory);
  const Layout layout(network);
  restrain(layout, limits);
  try {
    const FileContents contents =
        reader([&report](std::string_view at) { Report::put(report.at, sizeof report.at, at); });
    const Layers& layers = contents.layers;
    std::byte* next = memory + layout.values;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      memory[layout.flags + i] = std::byte{layers[i].has_value()};
      if (layers[i]) {
        const std::size_t kernel_bytes = layers[i]->kernel.size() * sizeof(float);
        std::memcpy(next, layers[i]->kernel.data(), kernel_bytes);
        std::memcpy(next + kernel_bytes, layers[i]->bias.data(), layers[i]->bias.size() * sizeof(float));
      }
      next += static_cast<std::size_t>(network.convolutions[i].parameters()) * sizeof(float);
    }
    Report::put_lines(report.conversions, sizeof report.conversions, contents.conversions);
    Report::put_lines(report.notes, sizeof report.notes, contents.notes);
    report.images = contents.images;
    report.state = State::finished;
  } catch (const Error& error) {
    Report::put(report.message, sizeof report.message, error.what());
    report.state = State::refused;
  } catch (const std::bad_alloc&) {
    _exit(kOutOfMemory);
  } catch (const std::exception&) {
    _exit(kUnexpected);
  }
  _exit(kReported);
}

/// How a child that failed ended.
std::string end_text(int status) {
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL) return "ran too long and was stopped";
    return fmt::format("crashed ({})", strsignal(WTERMSIG(status)));
  }
  if (WEXITSTATUS(status) == kOutOfMemory) return "asked for more memory than these weights can need";
  return fmt::format("gave up (exit code {})", WEXITSTATUS(status));
}

}  // namespace

FileContents read_in_child(const fs::path& file, const Network& network,
                           const std::function<FileContents(const At& at)>& reader, const ChildLimits& limits,
                           const std::function<void()>& meanwhile) {
  const Layout layout(network);
  const SharedMemory memory(layout.size);
  if (!memory) {
    throw_exhaustion(fmt::format("{}: no memory for the weights", file.string()), errno);
  }
  Report& report = *new (memory.data()) Report{};

  const pid_t process = fork();
  if (process < 0) {
    throw_exhaustion(fmt::format("{}: cannot start a process to read it", file.string()), errno);
  }
  if (process == 0) run_child(network, reader, limits, memory.data());
  std::exception_ptr failure;
  try {
    if (meanwhile) meanwhile();
  } catch (...) {
    failure = std::current_exception();
  }
  int status = 0;
  pid_t waited = 0;
  do {
    waited = waitpid(process, &status, 0);
  } while (waited < 0 && errno == EINTR);
  // A program that ignores SIGCHLD never gets a status; then only the report counts.
  if (waited < 0) status = 0;

  const State state = report.state;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || state == State::running) {
    report.at[sizeof report.at - 1] = '\0';
    const char* const at = *report.at == '\0' ? "the file" : report.at;
    // Without memory, libhdf5 may crash.
    if (is_memory_short(layout, limits))
      throw_exhaustion(fmt::format("{}: the reader ended at {}", file.string(), at), ENOMEM);
    throw Error(ErrorKind::input, fmt::format("{}: the reader {} at {}; the file is damaged: get it again",
                                              file.string(), end_text(status), at));
  }
  if (state == State::refused) {
    report.message[sizeof report.message - 1] = '\0';
    throw Error(ErrorKind::input, report.message);
  }
  if (failure) std::rethrow_exception(failure);
  Layers layers(network.convolutions.size());
  const std::byte* next = memory.data() + layout.values;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Convolution& convolution = network.convolutions[i];
    const auto* values = reinterpret_cast<const float*>(next);
    const float* bias = values + convolution.parameters() - convolution.out_channels;
    if (memory.data()[layout.flags + i] != std::byte{0}) {
      // The reader has checked this already, but damage may have made libhdf5 write out of bounds since.
      if (!std::all_of(values, values + convolution.parameters(), [](float v) { return std::isfinite(v); })) {
        throw Error(ErrorKind::input,
                    fmt::format("{}: layer {}: expected finite numbers; the file is damaged: "
                                "get it again",
                                file.string(), convolution.name));
      }
      layers[i] = LayerWeights{.kernel{values, bias}, .bias{bias, bias + convolution.out_channels}};
    }
    next += static_cast<std::size_t>(convolution.parameters()) * sizeof(float);
  }
  FileContents contents(std::move(layers));
  report.conversions[sizeof report.conversions - 1] = '\0';
  contents.conversions = Report::lines_of(report.conversions);
  report.notes[sizeof report.notes - 1] = '\0';
  contents.notes = Report::lines_of(report.notes);
  contents.images = report.images;
  return contents;
}

}  // namespace filterscope::weights_formats
