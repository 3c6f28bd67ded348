// One step of an optimiser, for every image that climbs: normalise_and_step for the other recipes.
//
// Floor: gradient read, parameters read and written, 12 bytes per value, and 8 more for each value of state;
// for adam 28. Normalisation, weight decay, optimiser, decay and clip are one pass. As in normalise_and_step,
// every block adds up its image's partial sums anew, and one thread computes what is slow, in double, while
// the block's loads are in flight.
#include "../common/global.h"
#include "../common/launch.h"
#include "../common/reduce.h"
#include "optimiser_step.h"

namespace filterscope::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kValuesPerThread = 4;

using Kind = OptimiserRule::Kind;

// What an image's step multiplies with.
struct Factors {
  bool climbs;
  float normaliser;  // Of the gradient.
  float step;        // Of the normalised gradient or of the first moment; ascent: step and normaliser.
  float root;        // adam: of the second moment's root.
};

__device__ double divisor_of(const NormalisationRule& rule, double sum, int values) {
  // A gradient of zero stays one, whatever the norm.
  if (sum == 0 || rule.kind == NormalisationRule::Kind::none) return 1;
  const double power = rule.kind == NormalisationRule::Kind::rms ? sum / values : sum;
  const double epsilon = rule.epsilon;
  return rule.epsilon_added ? sqrt(power) + epsilon : sqrt(max(power, epsilon));
}

template <Kind kKind>
__device__ void step_value(const OptimiserRule& rule, const Factors& factors, float gradient,
                           float& parameter, float& first, float& second) {
  const float g = factors.normaliser * gradient - rule.weight_decay * parameter;
  if (kKind == Kind::ascent) {
    // Rounded twice, as on the host, not fused.
    parameter = rule.weight_decay == 0.f ? __fadd_rn(parameter, __fmul_rn(factors.step, gradient))
                                         : parameter + rule.step * g;
  }
  if (kKind == Kind::momentum) {
    first = rule.momentum * first + g;
    parameter += rule.step * first;
  }
  if (kKind == Kind::rmsprop) {
    first = rule.rho * first + (1 - rule.rho) * g * g;
    parameter += rule.step * g / sqrtf(first + rule.epsilon);
  }
  if (kKind == Kind::adam) {
    first = rule.beta1 * first + (1 - rule.beta1) * g;
    second = rule.beta2 * second + (1 - rule.beta2) * g * g;
    parameter += factors.step * first / (sqrtf(second) * factors.root + rule.epsilon);
  }
  if (rule.decay != 0.f) parameter *= 1 - rule.decay;
  if (rule.clips) parameter = parameter < rule.low ? rule.low : rule.high < parameter ? rule.high : parameter;
}

template <Kind kKind, int kWidth>
__global__ void __launch_bounds__(kThreads)
    optimiser_step_kernel(Global<float> parameters, Global<const float> gradients,
                          Global<const float> squares, int parts, Global<float> first, Global<float> second,
                          NormalisationRule normalisation, OptimiserRule rule, bool stops_when_still,
                          int earlier, Global<AscentStatus> status, Global<int> steps,
                          Global<const float> losses, Global<float> gradient_norms,
                          Global<const int> iteration, int values_per_image) {
  constexpr int kVectors = kValuesPerThread / kWidth;
  constexpr bool kFirst = kKind != Kind::ascent;
  constexpr bool kSecond = kKind == Kind::adam;
  using Values = Vector<float, kWidth>;
  const int image = static_cast<int>(blockIdx.y);
  const std::int64_t begin = std::int64_t{image} * values_per_image;
  const int thread_first =
      (static_cast<int>(blockIdx.x) * kVectors * kThreads + static_cast<int>(threadIdx.x)) * kWidth;
  Values values[kVectors], gradient[kVectors], first_moment[kVectors], second_moment[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = thread_first + i * kThreads * kWidth;
    if (at >= values_per_image) continue;
    values[i] = parameters.load_vector<kWidth>(begin + at);
    gradient[i] = gradients.load_vector<kWidth>(begin + at);
    if (kFirst) first_moment[i] = first.load_vector<kWidth>(begin + at);
    if (kSecond) second_moment[i] = second.load_vector<kWidth>(begin + at);
  }

  FILTERSCOPE_SHARED(Factors, shared, 1);
  if (threadIdx.x < kWarpSize) {
    double sum = 0;
    for (int part = static_cast<int>(threadIdx.x); part < parts; part += kWarpSize)
      sum += static_cast<double>(squares.load(std::int64_t{image} * parts + part));
    sum = warp_reduce<Sum>(sum);
    if (threadIdx.x == 0) {
      // Other blocks may see the status that the image's first block stores here, or the one before: as in
      // normalise_and_step, both lead them to the same result.
      const bool climbed = status.load(image) == AscentStatus::climbing;
      const float norm = static_cast<float>(sqrt(sum));
      const bool finite = isfinite(losses.load(image)) && isfinite(norm);
      const bool climbs = climbed && finite && !(stops_when_still && sum == 0);
      if (blockIdx.x == 0) {
        if (climbed || !finite) gradient_norms.store(image, norm);
        if (climbs) {
          steps.store(image, steps.load(image) + 1);
        } else if (climbed) {
          status.store(image, finite ? AscentStatus::dead : AscentStatus::nonfinite);
        }
      }
      const double divisor = divisor_of(normalisation, sum, values_per_image);
      Factors factors{climbs, static_cast<float>(1 / divisor), static_cast<float>(rule.step / divisor), 0.f};
      if (kKind == Kind::adam) {
        const double count = iteration.load(0) - earlier;
        factors.step = static_cast<float>(rule.step / (1 - pow(static_cast<double>(rule.beta1), count)));
        factors.root = static_cast<float>(1 / sqrt(1 - pow(static_cast<double>(rule.beta2), count)));
      }
      shared[0] = factors;
    }
  }
  __syncthreads();
  const Factors factors = shared[0];
  if (!factors.climbs) return;

#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = thread_first + i * kThreads * kWidth;
    if (at >= values_per_image) continue;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      step_value<kKind>(rule, factors, gradient[i][j], values[i][j], first_moment[i][j], second_moment[i][j]);
    }
    parameters.store_vector<kWidth>(begin + at, values[i]);
    if (kFirst) first.store_vector<kWidth>(begin + at, first_moment[i]);
    if (kSecond) second.store_vector<kWidth>(begin + at, second_moment[i]);
  }
}

template <Kind kKind>
void launch_step(const OptimiserStepArguments& arguments, cudaStream_t stream) {
  const AscentState& state = arguments.state;
  // Images are stored without padding: either all of them are aligned for vectors or only the first is.
  const auto kernel =
      arguments.values_per_image % 4 == 0 ? optimiser_step_kernel<kKind, 4> : optimiser_step_kernel<kKind, 1>;
  const int blocks = ceil_div(arguments.values_per_image, kThreads * kValuesPerThread);
  launch("optimiser_step", kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(arguments.images_count)), dim3(kThreads)},
         stream, arguments.parameters, arguments.gradients, arguments.squares, arguments.parts,
         arguments.first, arguments.second, arguments.normalisation, arguments.optimiser,
         arguments.stops_when_still, arguments.earlier, state.status, state.steps, state.losses,
         state.gradient_norms, state.iteration, arguments.values_per_image);
}

}  // namespace

void optimiser_step(const OptimiserStepArguments& arguments, cudaStream_t stream) {
  switch (arguments.optimiser.kind) {
    case Kind::ascent:
      return launch_step<Kind::ascent>(arguments, stream);
    case Kind::momentum:
      return launch_step<Kind::momentum>(arguments, stream);
    case Kind::adam:
      return launch_step<Kind::adam>(arguments, stream);
    case Kind::rmsprop:
      return launch_step<Kind::rmsprop>(arguments, stream);
  }
}

}  // namespace filterscope::kernels
