#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

/// The common part of bench_kernels' benchmarks: an operation is made when it is first run, checked once, and
/// then timed on several sets of buffers that together exceed the cache, so that each run starts with a cold
/// cache.
namespace filterscope::bench {

/// The work of one run of an operation.
struct Work {
  /// Floating-point operations; for a convolution 2 * 9 * in_channels * out_channels * positions, however it
  /// is computed. 0 if they are irrelevant.
  double operations = 0;
  /// Bytes read and written if nothing is read twice.
  double bytes = 0;
  /// Operations of the matrix products in Winograd's algorithm; 0 for other algorithms.
  double winograd_operations = 0;
};

/// The device's peaks, in operations and bytes per second; 0: unknown.
struct Ceilings {
  double operations = 0;
  double bytes = 0;
};

/// One operation with its memory.
struct Operation {
  Work work{};
  Ceilings ceilings{};
  /// Sets of buffers; run() gets one after another.
  int sets = 1;
  /// Runs the operation once or, on a GPU, enqueues it.
  std::function<void(int set)> run;
  /// Called after run(0): describes wrong results, such as "element 5 is 1.5 instead of 1 +- 0.001"; empty if
  /// there are none.
  std::function<std::string()> check;
  /// Shown after the row.
  std::string label{};
};

/// Times an operation: seconds() of `runs` runs, one after another.
struct Stopwatch {
  int runs = 1;
  std::function<double()> seconds;
};

/// Thrown if an operation cannot be measured here. Its row says why; this is not a failure.
class Unavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The device on which operations run.
class Device {
 public:
  virtual ~Device() = default;
  virtual Stopwatch stopwatch(const Operation& operation) = 0;
  /// The number of sets of buffers of so many bytes that exceeds the cache: twice as many as would fill it.
  int sets(std::size_t bytes_of_set) const;

 protected:
  explicit Device(std::size_t cache_bytes) : cache_bytes_(cache_bytes) {}

 private:
  std::size_t cache_bytes_;
};

/// Registers a benchmark. Only one operation exists at a time. A wrong result, or an exception other than
/// Unavailable and std::bad_alloc, is reported in its row and counted as a failure.
void add(const std::string& name, std::shared_ptr<Device> device, std::function<Operation()> make);

/// The number of benchmarks that have failed so far.
int failures();

/// Destroys all benchmarks and what they hold. Call it before the program ends, since the device may be
/// destroyed before them.
void release();

}  // namespace filterscope::bench
