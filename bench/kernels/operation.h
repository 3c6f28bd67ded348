#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

/// What every benchmark of bench_kernels has in common: an operation is made when it is first run, checked
/// once, and then timed on buffers that are too large, all together, to be in the cache when their turn
/// comes.
namespace filterscope::bench {

/// What one run of an operation does.
struct Work {
  /// Floating-point operations: of a convolution 2 * 9 * in_channels * out_channels * positions, whichever
  /// way it is computed. 0 where they are no matter.
  double operations = 0;
  /// Read and written where nothing is fetched twice.
  double bytes = 0;
  /// Operations of the matrix products that Winograd's algorithm does instead; 0 elsewhere.
  double winograd_operations = 0;
};

/// What the device is capable of, in operations and bytes per second; 0: not known.
struct Ceilings {
  double operations = 0;
  double bytes = 0;
};

/// One operation with its memory.
struct Operation {
  Work work{};
  Ceilings ceilings{};
  /// Of buffers; run() is given one of them after another.
  int sets = 1;
  /// Does it once, or, on a GPU, enqueues it.
  std::function<void(int set)> run;
  /// After run(0): what is wrong with its results, such as "element 5 is 1.5 instead of 1 +- 0.001"; empty if
  /// nothing is.
  std::function<std::string()> check;
  /// Shown behind the row.
  std::string label{};
};

/// How an operation is timed: seconds() of `runs` runs, one after another.
struct Stopwatch {
  int runs = 1;
  std::function<double()> seconds;
};

/// Why an operation cannot be measured here, which is no failure: the row says so.
class Unavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where operations run.
class Device {
 public:
  virtual ~Device() = default;
  virtual Stopwatch stopwatch(const Operation& operation) = 0;
  /// Sets of buffers of so many bytes that the cache cannot hold: twice as many as would fill it.
  int sets(std::size_t bytes_of_set) const;

 protected:
  explicit Device(std::size_t cache_bytes) : cache_bytes_(cache_bytes) {}

 private:
  std::size_t cache_bytes_;
};

/// Registers a benchmark. Only one operation exists at a time. A wrong result, or an exception other than
/// Unavailable and std::bad_alloc, is reported in its row and counted as a failure.
void add(const std::string& name, std::shared_ptr<Device> device, std::function<Operation()> make);

/// Benchmarks that failed so far.
int failures();

/// Gives back all that benchmarks hold, and forgets them: to be called before the program's end, when a
/// device may be gone before they are.
void release();

}  // namespace filterscope::bench
