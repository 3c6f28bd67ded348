#include "convolution.h"

#include <fmt/format.h>

namespace filterscope::cuda {

std::string_view to_string(Direction direction) {
  return direction == Direction::fprop ? "fprop" : "dgrad";
}

std::string_view to_string(WeightLayout layout) {
  return layout == WeightLayout::krsc ? "krsc" : "crsk rotated";
}

std::string_view to_string(BiasType type) {
  return type == BiasType::fp32 ? "fp32" : "storage";
}

std::string to_string(const ConvolutionProblem& problem) {
  return fmt::format("{} {} {}x{}x{} {}->{} {}{}", to_string(problem.direction),
                     filterscope::to_string(problem.precision), problem.images, problem.height, problem.width,
                     problem.in_channels, problem.out_channels, to_string(problem.mask),
                     problem.pooled ? " pooled" : "");
}

std::size_t ConvolutionProblem::map_size(int channels) const {
  return static_cast<std::size_t>(images) * height * width * channels;
}

std::size_t ConvolutionProblem::pooled_size(int channels) const {
  return static_cast<std::size_t>(images) * (height / 2) * (width / 2) * channels;
}

std::size_t ConvolutionProblem::source_size() const {
  return pooled && direction == Direction::dgrad ? pooled_size(out_channels) : map_size(source_channels());
}

std::size_t ConvolutionProblem::destination_size() const {
  return pooled && direction == Direction::fprop ? pooled_size(out_channels)
                                                 : map_size(destination_channels());
}

std::size_t storage_bytes(Precision precision) {
  return precision == Precision::bf16 || precision == Precision::fp16 ? 2 : 4;
}

std::size_t mask_bytes(const ConvolutionProblem& problem, int channels) {
  const std::size_t elements = problem.map_size(channels);
  switch (problem.mask) {
    case MaskFormat::none:
      return 0;
    case MaskFormat::bits:
      return elements / 8;
    case MaskFormat::bytes:
      return elements;
    case MaskFormat::activation:
      return elements * storage_bytes(problem.precision);
  }
  return 0;
}

}  // namespace filterscope::cuda
