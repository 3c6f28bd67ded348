#define FILTERSCOPE_KERNELS kernels_avx512
#define FILTERSCOPE_KERNELS_NAME "avx512"
#include "kernels.inc"
