#pragma once

#include <cstdint>

#include "../common/types.h"
#include "../first_layer/input_map.h"
#include "../relu/mask_format.h"

/// The target layer, of which each image needs one filter only: a dot product of 9 x channels values per
/// position, and the same weights spread back. A full convolution would compute `filters` times as much.
namespace filterscope::kernels {

/// The responses of an image are summed in this many parts of consecutive positions (row-major): each of the
/// same multiple of 32, the last ones of what remains, or nothing.
constexpr int kFilterHeadParts = 8;

template <class T>
struct FilterHeadArguments {
  const T* input;         ///< [images][height][width][channels], 16-byte aligned.
  const float* weights;   ///< [filters in the layer][3][3][channels], 16-byte aligned.
  const float* bias;      ///< [filters in the layer]
  const int* filters;     ///< [images] The target filter of each image.
  float* sums;            ///< Out. [images][kFilterHeadParts]: sums of the responses after ReLU.
  std::uint32_t* active;  ///< Out. [images][ceil(height * width / 32)]: bit p % 32 of word p / 32: position p
                          ///< is above zero; bits past the end are 0.
  int images_count;
  int height;
  int width;
  int channels;  ///< A multiple of 32.
};

/// 3x3 cross-correlation (zero padding 1) with one filter per image, bias and ReLU, in fp32.
template <class T>
void filter_head(const FilterHeadArguments<T>& arguments, cudaStream_t stream);

template <class T>
struct FilterHeadGradientArguments {
  const std::uint32_t* active;  ///< As filter_head wrote it.
  const float* sums;  ///< Rescue: also as filter_head wrote them. Where all of an image's are zero, which is
                      ///< where no position is above zero, every position counts as active. Null: no rescue.
  const float* weights;  ///< As filter_head's.
  const int* filters;
  ReluMask mask;  ///< Of the layer that made the input.
  float scale;    ///< The gradient of each active position's response, or of its value before the ReLU.
  T* gradient;    ///< Out. [images][height][width][channels], 16-byte aligned, as the mask's data.
  int images_count;
  int height;
  int width;
  int channels;  ///< A multiple of 32.
};

/// gradient[y][x][c] = mask * scale * sum over r, s of active[y + 1 - r][x + 1 - s] *
/// weights[filter][r][s][c], in fp32, rounded once to T.
template <class T>
void filter_head_gradient(const FilterHeadGradientArguments<T>& arguments, cudaStream_t stream);

struct ImageHeadArguments {
  const float* images;   ///< [images][height][width][3]
  const float* weights;  ///< [filters in the layer][3][3][3]
  const float* bias;
  const int* filters;  ///< [images]
  InputMap map;
  float* sums;            ///< Out. [images][kFilterHeadParts]
  std::uint32_t* active;  ///< Out. As filter_head's.
  int images_count;
  int height;
  int width;
};

/// filter_head for the first layer, which reads the images themselves.
void image_head(const ImageHeadArguments& arguments, cudaStream_t stream);

struct ImageHeadGradientArguments {
  const std::uint32_t* active;
  const float* sums;  ///< As filter_head_gradient's; may be null.
  const float* weights;
  const int* filters;
  InputMap map;
  float scale;             ///< As filter_head_gradient's.
  float* image_gradients;  ///< Out. [images][height][width][3]
  float* squares;          ///< Out. [images][image_gradient_parts(height, width)]: as first_layer_dgrad's.
  int images_count;
  int height;
  int width;
};

/// filter_head_gradient for the first layer, through the input map to the image.
void image_head_gradient(const ImageHeadGradientArguments& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
