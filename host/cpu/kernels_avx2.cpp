#define FILTERSCOPE_KERNELS kernels_avx2
#define FILTERSCOPE_KERNELS_NAME "avx2"
#include "kernels.inc"
