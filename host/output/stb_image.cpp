// The one place where the code of stb_image is compiled; its includes count as system headers, so its warnings
// are not ours.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
// Far above any picture of this program; keeps a damaged header from asking for all memory.
#define STBI_MAX_DIMENSIONS 16384
#include <stb_image.h>
