#pragma once

#include <memory>
#include <string>

#include "../layers.h"
#include "device.h"
#include "host/cuda/convolution.h"
#include "host/cuda/storage.h"
#include "host/run/precision.h"

/// The benchmarks on a CUDA device, one file per family. Names are
/// cuda/OPERATION/LAYER/VARIANT/PRECISION/batch:N.
namespace filterscope::bench {

/// The convolutions' kernels (kernels/convolution/convolution.h).
void add_native_convolutions(const Selection& selection, const std::shared_ptr<CudaDevice>& device);
/// cuDNN's convolutions, each graph with the plan that the engine would choose
/// (host/cuda/cudnn/convolution.h).
void add_cudnn_convolutions(const Selection& selection, const std::shared_ptr<CudaDevice>& device);
/// Fprop and dgrad of the first layer.
void add_first_layer(const Selection& selection, const std::shared_ptr<CudaDevice>& device);
/// The filter head and its gradient, also for the first layer.
void add_cuda_filter_heads(const Selection& selection, const std::shared_ptr<CudaDevice>& device);
/// Max-pool and its gradient.
void add_max_pools(const Selection& selection, const std::shared_ptr<CudaDevice>& device);
/// Packing and applying ReLU masks.
void add_relu_masks(const Selection& selection, const std::shared_ptr<CudaDevice>& device);
/// Noise, losses, step and picture.
void add_cuda_ascent(const Selection& selection, const std::shared_ptr<CudaDevice>& device);

/// A convolution by any variant.
Operation convolution_operation(std::unique_ptr<cuda::ConvolutionVariant> variant, CudaDevice& device);

/// Calls body(Storage<T>, precision) for one of the selected precisions per storage type of maps.
template <class Body>
void for_each_storage(const Selection& selection, const Body& body) {
  for (const std::string& name : selection.precisions) {
    const Precision precision = parse_precision(name);
    if (precision == Precision::tf32) continue;
    cuda::with_storage(precision, [&](auto storage) { body(storage, precision); });
  }
}

}  // namespace filterscope::bench
