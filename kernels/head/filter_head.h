#pragma once

#include <cstdint>
#include <limits>

#include "../common/types.h"
#include "../relu/mask_format.h"

/// The filter head. Each image needs one filter of its target layer: a dot product of 9 x channels values per
/// position, and in the gradient the same weights spread back. A full convolution would compute every filter
/// of the layer.
namespace filterscope::kernels {

/// Each image's responses are summed in this many parts of consecutive positions (row-major). All parts have
/// the same size, a multiple of 32, except that the last ones may have fewer positions or none.
constexpr int kFilterHeadParts = 8;

/// The positions of a map that count in its filter's loss, and whether their responses do before the ReLU.
struct HeadWindow {
  int top = 0;  ///< Rows top to bottom - 1, columns left to right - 1. Default: the whole map.
  int left = 0;
  int bottom = std::numeric_limits<int>::max();
  int right = std::numeric_limits<int>::max();
  bool before_relu = false;

  bool operator==(const HeadWindow&) const = default;
};

template <class T>
struct FilterHeadArguments {
  const T* input;        ///< [images][height][width][channels], 16-byte aligned.
  const float* weights;  ///< [filters in the layer][3][3][channels], 16-byte aligned.
  const float* bias;     ///< [filters in the layer]
  const int* filters;    ///< [images] The target filter of each image.
  float* sums;  ///< Out. [images][kFilterHeadParts]: sums of the responses that count, 16-byte aligned.
  std::uint32_t* active;  ///< Out. [images][ceil(height * width / 32)]: bit p % 32 of word p / 32: position p
                          ///< counts, and its response is above zero or counts before the ReLU; bits past
                          ///< the end are 0.
  int images_count;
  int height;
  int width;
  int channels;  ///< A multiple of 32.
  HeadWindow window{};
};

/// 3x3 cross-correlation (zero padding 1) with one filter per image, bias and ReLU, in fp32. Throws
/// LaunchError.
template <class T>
void filter_head(const FilterHeadArguments<T>& arguments, cudaStream_t stream);

template <class T>
struct FilterHeadGradientArguments {
  const std::uint32_t* active;  ///< As filter_head wrote it.
  const float* sums;  ///< As filter_head wrote them, for rescue: where all of an image's sums are zero, that
                      ///< is, no position is active, every one in the window becomes active. Null: no rescue.
  const float* weights;  ///< As filter_head's.
  const int* filters;
  ReluMask mask;  ///< The mask of the layer that computed the input; its data is 16-byte aligned.
  float scale;  ///< The loss gradient at each active position, of the response and hence of its value before
                ///< the ReLU.
  T* gradient;  ///< Out. [images][height][width][channels], 16-byte aligned.
  int images_count;
  int height;
  int width;
  int channels;  ///< A multiple of 32.
  HeadWindow window{};
};

/// gradient[y][x][c] = mask * scale * sum over r, s of active[y + 1 - r][x + 1 - s] *
/// weights[filter][r][s][c], in fp32, rounded once to T. Throws LaunchError.
template <class T>
void filter_head_gradient(const FilterHeadGradientArguments<T>& arguments, cudaStream_t stream);

}  // namespace filterscope::kernels
