#pragma once

#include <functional>
#include <map>

#include "../operation.h"
#include "host/cuda/runtime.h"
#include "host/run/precision.h"

namespace filterscope::bench {

/// The current CUDA device, real or emulated. It replays a graph of runs that rotate through the buffers,
/// timed by events.
class CudaDevice final : public Device {
 public:
  /// Operations per second of a large matrix product, by precision. 0 or no function: unknown.
  using MatrixProduct = std::function<double(Precision, const cuda::Stream&)>;
  /// Bytes per second, read plus written, of a large copy. 0 or no function: unknown.
  using CopyBandwidth = std::function<double(const cuda::Stream&)>;

  CudaDevice(bool tiny, MatrixProduct matrix_product, CopyBandwidth copy_bandwidth);
  Stopwatch stopwatch(const Operation& operation) override;

  /// Measured on first use.
  Ceilings ceilings(Precision precision);
  /// Where operations are enqueued.
  const cuda::Stream& stream() const { return stream_; }

 private:
  bool tiny_;
  MatrixProduct matrix_product_;
  CopyBandwidth copy_bandwidth_;
  cuda::Stream stream_;
  std::map<Precision, double> products_;
  double copy_ = -1;
};

}  // namespace filterscope::bench
