#include "host/cuda/cufft.h"

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <numbers>
#include <vector>

#include "runtime.h"

// The part of cuFFT that the engine uses, by sums in double precision. Like the real one it destroys the
// spectra that it makes images of, writes to its work area, and makes something undefined of spectra that are
// no real image's.

namespace filterscope::emulation {
namespace {

using cuda::CufftFunctions;
using Complex = std::complex<double>;

constexpr int kInvalidPlan = 1;
constexpr int kInvalidValue = 4;
constexpr int kNoWorkspace = 0xd;
constexpr std::size_t kWorkBytes = 1000;

struct Plan {
  int height = 0;
  int width = 0;
  int type = 0;
  int batch = 0;
  bool allocates = true;
  void* work = nullptr;
  cudaStream_t stream = nullptr;

  int columns() const { return width / 2 + 1; }
  std::size_t plane() const { return static_cast<std::size_t>(height) * width; }
  std::size_t spectrum() const { return static_cast<std::size_t>(height) * columns() * 2; }
};

std::mutex g_mutex;
std::map<int, Plan> g_plans;
int g_last = 0;

Plan* find(int plan) {
  const auto found = g_plans.find(plan);
  return found == g_plans.end() ? nullptr : &found->second;
}

// Changes a plan by `change`, which returns a result.
template <class Change>
int with(int plan, Change change) {
  const std::lock_guard lock(g_mutex);
  Plan* const found = find(plan);
  return found == nullptr ? kInvalidPlan : change(*found);
}

Complex root(int numerator, int denominator) {
  return std::polar(1., 2 * std::numbers::pi * (numerator % denominator) / denominator);
}

// Columns of `spectrum`, [height][columns], each transformed; `sign` is that of the exponent.
std::vector<Complex> transform_columns(const Plan& plan, const std::vector<Complex>& spectrum, int sign) {
  std::vector<Complex> roots;
  for (int i = 0; i < plan.height; ++i)
    roots.push_back(sign < 0 ? std::conj(root(i, plan.height)) : root(i, plan.height));
  std::vector<Complex> result(spectrum.size());
  for (int y = 0; y < plan.height; ++y) {
    for (int k = 0; k < plan.height; ++k) {
      const Complex factor = roots[static_cast<std::size_t>(y) * k % plan.height];
      for (int x = 0; x < plan.columns(); ++x)
        result[y * plan.columns() + x] += factor * spectrum[k * plan.columns() + x];
    }
  }
  return result;
}

void forward(const Plan& plan, const float* in, float* out) {
  std::vector<Complex> rows(plan.spectrum() / 2);
  for (int y = 0; y < plan.height; ++y) {
    for (int k = 0; k < plan.columns(); ++k) {
      for (int x = 0; x < plan.width; ++x)
        rows[y * plan.columns() + k] += double{in[y * plan.width + x]} * std::conj(root(k * x, plan.width));
    }
  }
  rows = transform_columns(plan, rows, -1);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out[2 * i] = static_cast<float>(rows[i].real());
    out[2 * i + 1] = static_cast<float>(rows[i].imag());
  }
}

void inverse(const Plan& plan, const float* in, float* out) {
  std::vector<Complex> rows;
  for (std::size_t i = 0; i < plan.spectrum() / 2; ++i) rows.emplace_back(in[2 * i], in[2 * i + 1]);
  rows = transform_columns(plan, rows, 1);
  for (int y = 0; y < plan.height; ++y) {
    for (int x = 0; x < plan.width; ++x) {
      double sum = 0;
      for (int k = 0; k < plan.columns(); ++k) {
        const Complex value = rows[y * plan.columns() + k];
        const bool single = k == 0 || 2 * k == plan.width;
        // A real image's single coefficients are real here.
        const Complex term = value * root(k * x, plan.width);
        sum += single ? term.real() + value.imag() : 2 * term.real();
      }
      out[y * plan.width + x] = static_cast<float>(sum);
    }
  }
}

void require_room(const void* pointer, std::size_t bytes) {
  const Bounds bounds = bounds_of(pointer);
  if (static_cast<const std::byte*>(pointer) + bytes > bounds.end)
    throw Error("cuFFT: an array is too small for the transforms");
  if (reinterpret_cast<std::uintptr_t>(pointer) % 8 != 0)
    throw Error("cuFFT: an array is not aligned like complex numbers");
}

template <class Transform>
int execute(float* in, std::size_t in_size, float* out, std::size_t out_size, const Plan& plan,
            Transform transform) {
  if (plan.work == nullptr && !plan.allocates) return kNoWorkspace;
  enqueue(plan.stream, [=] {
    require_room(in, in_size * plan.batch * sizeof(float));
    require_room(out, out_size * plan.batch * sizeof(float));
    if (plan.work != nullptr) {
      require_room(plan.work, kWorkBytes);
      std::memset(plan.work, 0xff, kWorkBytes);
    }
    for (int i = 0; i < plan.batch; ++i) transform(plan, in + i * in_size, out + i * out_size);
    if (plan.type == CufftFunctions::kComplexToReal)
      std::memset(in, 0xff, in_size * plan.batch * sizeof(float));
  });
  return CufftFunctions::kSuccess;
}

constexpr CufftFunctions kFunctions{
    .create =
        [](int* plan) {
          const std::lock_guard lock(g_mutex);
          *plan = ++g_last;
          g_plans[g_last] = {};
          return CufftFunctions::kSuccess;
        },
    .destroy =
        [](int plan) {
          const std::lock_guard lock(g_mutex);
          return g_plans.erase(plan) == 1 ? CufftFunctions::kSuccess : kInvalidPlan;
        },
    .set_auto_allocation =
        [](int plan, int automatic) {
          return with(plan, [=](Plan& found) {
            found.allocates = automatic != 0;
            return CufftFunctions::kSuccess;
          });
        },
    .make_plan_many =
        [](int plan, int rank, int* sizes, int* in_embed, int /*in_stride*/, int /*in_distance*/,
           int* out_embed, int /*out_stride*/, int /*out_distance*/, int type, int batch,
           std::size_t* work_bytes) {
          return with(plan, [=](Plan& found) {
            if (rank != 2 || in_embed != nullptr || out_embed != nullptr) return kInvalidValue;
            found.height = sizes[0];
            found.width = sizes[1];
            found.type = type;
            found.batch = batch;
            *work_bytes = kWorkBytes;
            return CufftFunctions::kSuccess;
          });
        },
    .set_work_area =
        [](int plan, void* work) {
          return with(plan, [=](Plan& found) {
            found.work = work;
            return CufftFunctions::kSuccess;
          });
        },
    .set_stream =
        [](int plan, cudaStream_t stream) {
          return with(plan, [=](Plan& found) {
            found.stream = stream;
            return CufftFunctions::kSuccess;
          });
        },
    .execute_real_to_complex =
        [](int plan, float* in, void* out) {
          return with(plan, [=](Plan& found) {
            if (found.type != CufftFunctions::kRealToComplex) return kInvalidValue;
            return execute(in, found.plane(), static_cast<float*>(out), found.spectrum(), found, forward);
          });
        },
    .execute_complex_to_real =
        [](int plan, void* in, float* out) {
          return with(plan, [=](Plan& found) {
            if (found.type != CufftFunctions::kComplexToReal) return kInvalidValue;
            return execute(static_cast<float*>(in), found.spectrum(), out, found.plane(), found, inverse);
          });
        },
    .get_version =
        [](int* version) {
          *version = 12000;
          return CufftFunctions::kSuccess;
        },
};

}  // namespace
}  // namespace filterscope::emulation

namespace filterscope::cuda {

const CufftFunctions& cufft() {
  return emulation::kFunctions;
}

}  // namespace filterscope::cuda
