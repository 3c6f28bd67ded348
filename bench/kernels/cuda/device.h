#pragma once

#include <functional>
#include <map>

#include "../operation.h"
#include "host/cuda/runtime.h"
#include "host/run/precision.h"

namespace filterscope::bench {

/// The current CUDA device, real or emulated: replays of a graph of runs on one buffer after another, timed
/// by events.
class CudaDevice final : public Device {
 public:
  /// Operations per second of a large matrix product, by precision; 0 or no function at all: not known.
  using MatrixProduct = std::function<double(Precision, const cuda::Stream&)>;
  /// And bytes per second, read and written, of a large copy.
  using CopyBandwidth = std::function<double(const cuda::Stream&)>;

  CudaDevice(bool tiny, MatrixProduct matrix_product, CopyBandwidth copy_bandwidth);
  Stopwatch stopwatch(const Operation& operation) override;

  /// Measured when first asked for.
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
