#define FILTERSCOPE_KERNELS kernels_generic
#define FILTERSCOPE_KERNELS_NAME "generic"
#include "kernels.inc"
