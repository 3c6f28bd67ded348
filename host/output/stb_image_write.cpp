// The one place where the code of stb_image_write is compiled; its includes count as system headers, so its
// warnings are not ours.
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
