// Compiles the code of stb_image. Its headers count as system headers, so their warnings are suppressed.
#include <cstdlib>

#include "stb_memory.h"

namespace filterscope {
namespace {

thread_local bool failed = false;

void* noted(void* memory) {
  failed |= memory == nullptr;
  return memory;
}
void* allocate(std::size_t size) {
  return noted(std::malloc(size));
}
void* reallocate(void* memory, std::size_t size) {
  return noted(std::realloc(memory, size));
}

}  // namespace

void start_noting_stb_memory() {
  failed = false;
}
bool stb_lacked_memory() {
  return failed;
}

}  // namespace filterscope

#define STBI_MALLOC(size) filterscope::allocate(size)
#define STBI_REALLOC(memory, size) filterscope::reallocate(memory, size)
#define STBI_FREE(memory) std::free(memory)
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
// Far above any picture of this program; keeps a damaged header from requesting all memory.
#define STBI_MAX_DIMENSIONS 16384
#include <stb_image.h>
