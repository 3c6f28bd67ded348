#include "convolution_trial.h"

#include <utility>

#include "../native_convolution.h"
#include "../storage.h"
#include "timing.h"

namespace filterscope::cuda {

namespace {

constexpr int kTaps = 9;
constexpr std::size_t kBitsPerWord = 32;
constexpr std::size_t kArgmaxPerWord = 16;

template <class T>
DeviceBuffer<std::byte> upload(const std::vector<T>& values) {
  return DeviceBuffer<std::byte>(std::as_bytes(std::span(values)));
}

std::size_t map_bytes(const ConvolutionVariant& variant) {
  const ConvolutionProblem& problem = variant.problem();
  return variant.needs_map() ? problem.map_size(problem.out_channels) * storage_bytes(problem.precision) : 0;
}

}  // namespace

ConvolutionTrial::ConvolutionTrial(const ConvolutionProblem& problem)
    : problem_(problem), samples_(samples_of(problem.images, problem.destination_size() / problem.images)) {
  source_ = random_values(problem.source_size(), problem.precision);
  krsc_ = random_values(std::size_t{kTaps} * problem.in_channels * problem.out_channels, problem.precision);
  const DeviceBuffer<std::byte> bias = random_values(problem.out_channels, problem.precision);
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    std::vector<float> values;
    for (const T value : to_host(reinterpret_cast<const T*>(bias.data()), problem.out_channels))
      values.push_back(kernels::to_float(value));
    bias_ = DeviceBuffer<float>(std::span<const float>(values));
    storage_bias_ = DeviceBuffer<std::byte>(problem.out_channels * sizeof(T));
    check(cudaMemcpy(storage_bias_.data(), bias.data(), bias.size(), cudaMemcpyDeviceToDevice),
          "filling device memory");
    check(cudaStreamSynchronize(nullptr), "filling device memory");
  });
  destination_ = DeviceBuffer<std::byte>(problem.destination_size() * storage_bytes(problem.precision));
  const std::size_t masks = mask_bytes(problem, problem.destination_channels());
  if (problem.mask == MaskFormat::activation) {
    // For fprop it is the destination.
    if (problem.direction == Direction::dgrad)
      mask_ = random_values(problem.destination_size(), problem.precision);
  } else if (problem.mask == MaskFormat::bits) {
    mask_ = random_bytes(masks);
  } else if (problem.mask == MaskFormat::bytes) {
    mask_ = random_bytes(masks, std::byte{1});
  }
  if (problem.pooled) {
    const std::size_t outputs = problem.pooled_size(problem.out_channels);
    argmax_ = random_bytes(outputs / kArgmaxPerWord * sizeof(std::uint32_t));
    active_ = random_bytes(outputs / kBitsPerWord * sizeof(std::uint32_t));
  }
}

const void* ConvolutionTrial::weights(WeightLayout layout) {
  if (layout == WeightLayout::krsc) return krsc_.data();
  if (crsk_rotated_.size() > 0) return crsk_rotated_.data();
  with_storage(problem_.precision, [&]<class T>(Storage<T>) {
    const std::size_t inputs = problem_.in_channels;
    const std::size_t outputs = problem_.out_channels;
    const std::vector<T> krsc =
        to_host(reinterpret_cast<const T*>(krsc_.data()), std::size_t{kTaps} * inputs * outputs);
    std::vector<T> rotated(krsc.size());
    for (std::size_t c = 0; c < inputs; ++c)
      for (std::size_t tap = 0; tap < kTaps; ++tap)
        for (std::size_t k = 0; k < outputs; ++k)
          rotated[(c * kTaps + tap) * outputs + k] = krsc[(k * kTaps + kTaps - 1 - tap) * inputs + c];
    crsk_rotated_ = upload(rotated);
  });
  return crsk_rotated_.data();
}

// Without workspace and map.
ConvolutionArguments ConvolutionTrial::arguments(const ConvolutionVariant& variant) {
  const bool fprop = problem_.direction == Direction::fprop;
  return {.source = source_.data(),
          .weights = weights(variant.weight_layout()),
          .bias = variant.bias_type() == BiasType::fp32 ? static_cast<const void*>(bias_.data())
                                                        : static_cast<const void*>(storage_bias_.data()),
          .destination = destination_.data(),
          .mask_out = fprop ? mask_.data() : nullptr,
          .mask_in = fprop ? nullptr : mask_.data(),
          .argmax = reinterpret_cast<std::uint32_t*>(argmax_.data()),
          .active = reinterpret_cast<std::uint32_t*>(active_.data())};
}

double ConvolutionTrial::milliseconds(ConvolutionVariant& variant, double cutoff) {
  const DeviceBuffer<std::byte> workspace(variant.workspace_bytes());
  const DeviceBuffer<std::byte> map(map_bytes(variant));
  ConvolutionArguments given = arguments(variant);
  given.workspace = workspace.data();
  given.map = map.data();
  const double milliseconds = device_milliseconds(
      stream_, [&] { variant.launch(given, stream_); }, cutoff);
  expect_right(variant, given);
  return milliseconds;
}

void ConvolutionTrial::expect_right(ConvolutionVariant& variant, const ConvolutionArguments& arguments) {
  if (expected_.empty()) {
    std::vector<std::optional<TrialResult>> all;  // Assigned only if none of them fails.
    for (const Sample& sample : samples_) all.push_back(expected(sample));
    expected_ = std::move(all);
  }
  const auto poison = [&](const auto& buffer) {
    if (buffer.size() > 0)
      check(cudaMemsetAsync(buffer.data(), 0xff, buffer.size() * sizeof(*buffer.data()), stream_), "filling");
  };
  poison(destination_);
  if (problem_.direction == Direction::fprop) {
    poison(mask_);
    poison(argmax_);
    poison(active_);
  }
  variant.launch(arguments, stream_);
  stream_.synchronise();
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (!expected_[i]) continue;
    expect_alike(read(problem_, arguments, samples_[i]), *expected_[i],
                 {variant.name(), to_string(problem_), problem_.precision, samples_[i].image});
  }
}

std::optional<TrialResult> ConvolutionTrial::expected(const Sample& sample) {
  const bool fprop = problem_.direction == Direction::fprop;
  ConvolutionProblem one = problem_;
  one.images = 1;
  if (fprop && one.mask == MaskFormat::bytes) one.mask = MaskFormat::bits;  // The same fields.
  const std::unique_ptr<ConvolutionVariant> variant = reference_variant(one);
  if (variant == nullptr) return std::nullopt;
  const std::size_t element = storage_bytes(one.precision);
  const std::size_t pooled = one.pooled ? one.pooled_size(one.out_channels) : 0;
  const DeviceBuffer<std::byte> destination(one.destination_size() * element);
  const DeviceBuffer<std::byte> map(map_bytes(*variant));
  const DeviceBuffer<std::byte> mask(fprop ? mask_bytes(one, one.out_channels) : 0);
  const DeviceBuffer<std::uint32_t> argmax(fprop ? pooled / kArgmaxPerWord : 0);
  const DeviceBuffer<std::uint32_t> active(fprop ? pooled / kBitsPerWord : 0);
  ConvolutionArguments given = arguments(*variant);
  given.source = source_.data() + one.source_size() * element * sample.image;
  given.destination = destination.data();
  given.map = map.data();
  if (fprop) {
    given.mask_out = mask.data();
    given.argmax = argmax.data();
    given.active = active.data();
  } else {
    if (given.mask_in != nullptr)
      given.mask_in = mask_.data() + mask_bytes(one, one.in_channels) * sample.image;
    given.argmax += pooled / kArgmaxPerWord * sample.image;
    given.active += pooled / kBitsPerWord * sample.image;
  }
  variant->launch(given, stream_);
  stream_.synchronise();
  return read(one, given, {0, sample.first, sample.count});
}

// The result of the last launch.
TrialResult ConvolutionTrial::read(const ConvolutionProblem& problem, const ConvolutionArguments& arguments,
                                   const Sample& sample) {
  TrialResult result;
  const std::size_t size = problem.destination_size() / problem.images;
  with_storage(problem.precision, [&]<class T>(Storage<T>) {
    result.values = to_floats(read_sample(static_cast<const T*>(arguments.destination), sample, size));
  });
  if (problem.direction != Direction::fprop) return result;
  if (problem.mask == MaskFormat::bits) {
    append_fields(
        result.kept,
        read_sample(static_cast<const std::uint32_t*>(arguments.mask_out), sample, size, kBitsPerWord), 1);
  } else if (problem.mask == MaskFormat::bytes) {
    result.kept = read_sample(static_cast<const std::uint8_t*>(arguments.mask_out), sample, size);
  }
  if (problem.pooled) {
    append_fields(result.kept, read_sample<std::uint32_t>(arguments.argmax, sample, size, kArgmaxPerWord), 2);
    append_fields(result.kept, read_sample<std::uint32_t>(arguments.active, sample, size, kBitsPerWord), 1);
  }
  return result;
}

}  // namespace filterscope::cuda
