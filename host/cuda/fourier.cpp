#include "fourier.h"

#include <fmt/format.h>

#include <algorithm>

#include "../base/error.h"
#include "../base/out_of_memory.h"
#include "cufft.h"

namespace filterscope::cuda {

namespace {

// Enough positions to occupy a device, few enough for the padding to cost little.
constexpr std::int64_t kGroupPositions = 1 << 19;
constexpr std::int64_t kMostGroupPairs = 16;

// An even number, so that every group begins at a multiple of 8 bytes, as cuFFT wants it.
int group_images(Extent extent) {
  const std::int64_t pairs = kGroupPositions / (2 * extent.positions());
  return static_cast<int>(2 * std::clamp(pairs, std::int64_t{1}, kMostGroupPairs));
}

std::size_t spectrum_size(Extent extent) {
  return static_cast<std::size_t>(extent.height) * (extent.width / 2 + 1) * 3 * 2;
}
std::size_t planes_size(Extent extent) {
  return static_cast<std::size_t>(extent.positions()) * 3;
}

void require(int result, const char* attempted) {
  if (result == CufftFunctions::kSuccess) return;
  if (result == CufftFunctions::kAllocationFailed) throw OutOfMemory("cuFFT has no memory");
  throw Error(ErrorKind::device, fmt::format("cuFFT, {}: error {}", attempted, result));
}

}  // namespace

std::string cufft_version() {
  int version = 0;
  require(cufft().get_version(&version), "asking for its version");
  return fmt::format("{}.{}.{}", version / 1000, version % 1000 / 100, version % 100);
}

// A transform of one group of images.
class FourierTransforms::Plan {
 public:
  Plan(Extent extent, int type) {
    require(cufft().create(&plan_), "creating a plan");
    require(cufft().set_auto_allocation(plan_, 0), "creating a plan");
    int sizes[2] = {extent.height, extent.width};
    // Without embedding, arrays are packed.
    require(cufft().make_plan_many(plan_, 2, sizes, nullptr, 1, 0, nullptr, 1, 0, type,
                                   group_images(extent) * 3, &work_bytes_),
            fmt::format("planning transforms of {} x {}", extent.height, extent.width).c_str());
  }
  ~Plan() { cufft().destroy(plan_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  std::size_t work_bytes() const { return work_bytes_; }
  void use(void* work) const { require(cufft().set_work_area(plan_, work), "giving it memory"); }
  int on(cudaStream_t stream) const {
    require(cufft().set_stream(plan_, stream), "choosing a stream");
    return plan_;
  }

 private:
  int plan_ = 0;
  std::size_t work_bytes_ = 0;
};

FourierTransforms::FourierTransforms(Extent extent, int images)
    : extent_(extent),
      groups_(padded(extent, images) / group_images(extent)),
      inverse_(std::make_unique<Plan>(extent, CufftFunctions::kComplexToReal)),
      forward_(std::make_unique<Plan>(extent, CufftFunctions::kRealToComplex)),
      work_(std::max(inverse_->work_bytes(), forward_->work_bytes())) {
  inverse_->use(work_.data());
  forward_->use(work_.data());
}

FourierTransforms::~FourierTransforms() = default;

int FourierTransforms::padded(Extent extent, int images) {
  const int group = group_images(extent);
  return (images + group - 1) / group * group;
}

std::size_t FourierTransforms::bytes(Extent extent) {
  // A group's spectra or, where a side has large prime factors, several times as much for longer transforms.
  constexpr std::size_t kLonger = 8;
  return kLonger * group_images(extent) * spectrum_size(extent) * sizeof(float);
}

void FourierTransforms::inverse(float* spectra, float* planes, cudaStream_t stream) const {
  const int plan = inverse_->on(stream);
  const std::size_t group = group_images(extent_);
  for (int i = 0; i < groups_; ++i) {
    require(cufft().execute_complex_to_real(plan, spectra + i * group * spectrum_size(extent_),
                                            planes + i * group * planes_size(extent_)),
            "transforming");
  }
}

void FourierTransforms::forward(float* planes, float* spectra, cudaStream_t stream) const {
  const int plan = forward_->on(stream);
  const std::size_t group = group_images(extent_);
  for (int i = 0; i < groups_; ++i) {
    require(cufft().execute_real_to_complex(plan, planes + i * group * planes_size(extent_),
                                            spectra + i * group * spectrum_size(extent_)),
            "transforming");
  }
}

}  // namespace filterscope::cuda
