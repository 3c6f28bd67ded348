#include "image_parameters.h"

#include <span>
#include <vector>

#include "../ascent/operations/fourier.h"
#include "stage_arguments.h"

namespace filterscope::cuda {

namespace {

std::size_t image_size(Extent extent) {
  return static_cast<std::size_t>(extent.positions()) * 3;
}
std::size_t scale_size(Extent extent) {
  return static_cast<std::size_t>(extent.height) * (extent.width / 2 + 1);
}
bool is_fourier(const Parameterisation& parameterisation) {
  return parameterisation.kind == Parameterisation::Kind::fourier;
}

// The inverse transform's division included.
std::vector<float> scale_of(Extent extent, float decay) {
  std::vector<float> scale = spectrum_scale(extent, decay);
  for (float& value : scale) value /= static_cast<float>(extent.positions());
  return scale;
}

}  // namespace

ImageParameters::ImageParameters(const Parameterisation& parameterisation, Extent extent, int images)
    : parameterisation_(parameterisation),
      extent_(extent),
      count_(images),
      map_(colour_map(parameterisation)),
      inverse_map_(inverse_colour_map(parameterisation)) {
  if (!is_fourier(parameterisation)) return;
  const std::vector<float> scale = scale_of(extent, parameterisation.decay);
  const std::size_t padded = FourierTransforms::padded(extent, images);
  scale_ = DeviceBuffer<float>(std::span<const float>(scale));
  spectra_ = DeviceBuffer<float>(padded * size(parameterisation, extent));
  planes_ = DeviceBuffer<float>(padded * image_size(extent));
  transforms_.emplace(extent, images);
}

std::size_t ImageParameters::bytes(const Parameterisation& parameterisation, Extent extent, int images) {
  if (!is_fourier(parameterisation)) return 0;
  const std::size_t padded = FourierTransforms::padded(extent, images);
  return FourierTransforms::bytes(extent) +
         (scale_size(extent) + padded * (size(parameterisation, extent) + image_size(extent))) *
             sizeof(float);
}

std::size_t ImageParameters::size(const Parameterisation& parameterisation, Extent extent) {
  return is_fourier(parameterisation) ? scale_size(extent) * 3 * 2 : image_size(extent);
}

bool ImageParameters::are_image(const Parameterisation& parameterisation) {
  return !is_fourier(parameterisation) && parameterisation.colour == Parameterisation::Colour::as_is &&
         parameterisation.range == Parameterisation::Range::unbounded;
}

void ImageParameters::to_images(const float* parameters, float* images, cudaStream_t stream) const {
  if (transforms_) {
    kernels::scale_spectrum(spectrum_arguments(parameters, spectra_.data()), stream);
    transforms_->inverse(spectra_.data(), planes_.data(), stream);
    parameters = planes_.data();
  }
  if (are_image(parameterisation_)) {
    if (images == parameters) return;
    check(cudaMemcpyAsync(images, parameters, count_ * image_size(extent_) * sizeof(float),
                          cudaMemcpyDeviceToDevice, stream),
          "copying images");
    return;
  }
  kernels::colour_forward(colour_arguments(parameters, images, map_), stream);
}

void ImageParameters::from_images(const float* images, float* parameters, cudaStream_t stream) const {
  if (are_image(parameterisation_)) return to_images(images, parameters, stream);
  if (!transforms_)
    return kernels::colour_inverse(colour_arguments(images, parameters, inverse_map_), stream);
  kernels::colour_inverse(colour_arguments(images, planes_.data(), inverse_map_), stream);
  transforms_->forward(planes_.data(), spectra_.data(), stream);
  kernels::spectrum_inverse(spectrum_arguments(spectra_.data(), parameters), stream);
}

const float* ImageParameters::adjoint(const float* images, float* gradients, cudaStream_t stream) const {
  if (are_image(parameterisation_)) return gradients;
  kernels::ColourArguments arguments =
      colour_arguments(gradients, transforms_ ? planes_.data() : gradients, map_);
  arguments.images = images;
  kernels::colour_adjoint(arguments, stream);
  if (!transforms_) return gradients;
  transforms_->forward(planes_.data(), spectra_.data(), stream);
  kernels::spectrum_adjoint(spectrum_arguments(spectra_.data(), spectra_.data()), stream);
  return spectra_.data();
}

kernels::ColourArguments ImageParameters::colour_arguments(const float* in, float* out,
                                                           const kernels::ColourMap& map) const {
  return {.in = in,
          .out = out,
          .map = map,
          .layout = transforms_ ? kernels::ValueLayout::planar : kernels::ValueLayout::interleaved,
          .images_count = count_,
          .positions = static_cast<int>(extent_.positions())};
}

kernels::SpectrumArguments ImageParameters::spectrum_arguments(const float* in, float* out) const {
  return {.in = in,
          .out = out,
          .scale = scale_.data(),
          .images_count = count_,
          .height = extent_.height,
          .width = extent_.width};
}

}  // namespace filterscope::cuda
