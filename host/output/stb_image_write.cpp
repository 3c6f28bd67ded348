// The one place where the code of stb_image_write is compiled; its includes count as system headers, so its
// warnings are not ours.

#include <zlib.h>

#include <cstdlib>

namespace {

/// In place of stb's own deflate, whose codes are fixed: noise, which most of these pictures are, it leaves
/// as it is after several times the work. There is next to nothing to find in it but bytes that are rarer
/// than others, and runs of the same one in what is drawn on sheets: zlib looks for no more (Z_RLE). The
/// result is freed with free(); null where there is no memory.
unsigned char* deflate_png(unsigned char* data, int size, int* compressed_size, int /* quality */) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS, 8, Z_RLE) != Z_OK) return nullptr;
  const uLong most = deflateBound(&stream, static_cast<uLong>(size));
  auto* compressed = static_cast<unsigned char*>(std::malloc(most));
  int end = Z_MEM_ERROR;
  if (compressed != nullptr) {
    stream.next_in = data;
    stream.avail_in = static_cast<uInt>(size);
    stream.next_out = compressed;
    stream.avail_out = static_cast<uInt>(most);
    end = deflate(&stream, Z_FINISH);
    *compressed_size = static_cast<int>(stream.total_out);
  }
  deflateEnd(&stream);
  if (end == Z_STREAM_END) return compressed;
  std::free(compressed);
  return nullptr;
}

}  // namespace

#define STBIW_ZLIB_COMPRESS deflate_png
#define STBIW_CRC32(data, size) static_cast<unsigned int>(crc32(0, data, static_cast<uInt>(size)))
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
