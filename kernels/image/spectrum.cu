// Spectra of images: scaled by frequency before the inverse transform, and after the forward one.
//
// Floor: a coefficient read and written, 16 bytes, for two multiplications. cuFFT could do it while it loads
// and stores (callbacks), but only if it were linked and compiled as device code, instead of being loaded
// where a recipe needs it. The scale is a table, since a power for each coefficient would take longer than
// its load, which all images share in the cache.
#include "../common/global.h"
#include "../common/launch.h"
#include "spectrum.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;

enum class Kind { scale, adjoint, inverse };

template <Kind kKind>
__global__ void __launch_bounds__(kThreads)
    spectrum_kernel(Global<const float> in, Global<float> out, Global<const float> scale, int height,
                    int width) {
  const int columns = width / 2 + 1;
  const int at = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (at >= height * columns) return;
  const int y = at / columns;
  const int x = at % columns;
  // Whether the image's whole spectrum has no second coefficient for this one.
  const bool single = x == 0 || 2 * x == width;
  const std::int64_t plane = std::int64_t{blockIdx.y} * height * columns;
  Vector<float, 2> value = in.load_vector<2>(2 * (plane + at));
  float factor = scale.load(at);
  if (kKind == Kind::scale && single) {
    const int mirrored = (y == 0 ? 0 : height - y) * columns + x;
    const Vector<float, 2> other = in.load_vector<2>(2 * (plane + mirrored));
    value[0] = 0.5f * (value[0] + other[0]);
    value[1] = 0.5f * (value[1] - other[1]);
  }
  if (kKind == Kind::adjoint && !single) factor *= 2;
  if (kKind == Kind::inverse) factor = 1 / (factor * static_cast<float>(height) * static_cast<float>(width));
  value[0] *= factor;
  value[1] *= factor;
  out.store_vector<2>(2 * (plane + at), value);
}

template <Kind kKind>
void launch_spectrum(const char* name, const SpectrumArguments& arguments, cudaStream_t stream) {
  const int blocks = ceil_div(arguments.height * (arguments.width / 2 + 1), kThreads);
  launch(name, spectrum_kernel<kKind>,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count * 3)),
          dim3(kThreads)},
         stream, arguments.in, arguments.out, arguments.scale, arguments.height, arguments.width);
}

}  // namespace

void scale_spectrum(const SpectrumArguments& arguments, cudaStream_t stream) {
  launch_spectrum<Kind::scale>("scale_spectrum", arguments, stream);
}

void spectrum_adjoint(const SpectrumArguments& arguments, cudaStream_t stream) {
  launch_spectrum<Kind::adjoint>("spectrum_adjoint", arguments, stream);
}

void spectrum_inverse(const SpectrumArguments& arguments, cudaStream_t stream) {
  launch_spectrum<Kind::inverse>("spectrum_inverse", arguments, stream);
}

}  // namespace filterscope::kernels
