// Compiles the code of stb_image_write, with zlib's deflate in place of its own. Its headers count as system
// headers, so their warnings are suppressed.

#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <stdexcept>
#include <vector>

#include "../base/parallel.h"

namespace {

using Bytes = std::vector<unsigned char>;

/// Sheets and posters of dozens of megabytes are compressed in parallel, in pieces of so many bytes.
constexpr std::size_t kPiece = std::size_t{4} << 20;

/// stb's own deflate has fixed codes, so it cannot compress noise, which most of these pictures are, and
/// takes several times as long. Noise has only unequal frequencies of bytes to exploit, and the drawings on
/// sheets have runs of the same byte, so zlib looks for nothing else (Z_RLE). All pieces but the last end on
/// a byte boundary, so that the next one can follow.
Bytes deflate_piece(std::span<unsigned char> data, bool last) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, -MAX_WBITS, 8, Z_RLE) != Z_OK) throw std::bad_alloc();
  constexpr uLong kFlush = 16;  // The most that the end of a piece takes.
  Bytes compressed(deflateBound(&stream, static_cast<uLong>(data.size())) + kFlush);
  stream.next_in = data.data();
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = compressed.data();
  stream.avail_out = static_cast<uInt>(compressed.size());
  const bool whole = deflate(&stream, last ? Z_FINISH : Z_SYNC_FLUSH) == (last ? Z_STREAM_END : Z_OK) &&
                     stream.avail_in == 0 && stream.avail_out > 0;
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  if (!whole) throw std::logic_error("zlib compressed to more than its bound");
  return compressed;
}

/// As STBIW_ZLIB_COMPRESS: a stream as in RFC 1950, to be freed with free(); null if memory ran out.
unsigned char* deflate_png(unsigned char* data, int size, int* compressed_size, int /* quality */) try {
  const auto all = std::span(data, static_cast<std::size_t>(size));
  const std::size_t count = std::max<std::size_t>((all.size() + kPiece - 1) / kPiece, 1);
  std::vector<Bytes> pieces(count);
  std::vector<uLong> checksums(count);
  filterscope::for_each_parallel(count, [&](std::size_t i) {
    const auto piece = all.subspan(i * kPiece, std::min(kPiece, all.size() - i * kPiece));
    pieces[i] = deflate_piece(piece, i + 1 == count);
    checksums[i] = adler32_z(adler32(0, nullptr, 0), piece.data(), piece.size());
  });
  Bytes stream{0x78, 0x01};  // Deflate with windows of 32 KiB, the fastest algorithm.
  uLong checksum = adler32(0, nullptr, 0);
  for (std::size_t i = 0; i < count; ++i) {
    stream.insert(stream.end(), pieces[i].begin(), pieces[i].end());
    const std::size_t length = std::min(kPiece, all.size() - i * kPiece);
    checksum = adler32_combine(checksum, checksums[i], static_cast<z_off_t>(length));
  }
  for (const int shift : {24, 16, 8, 0}) stream.push_back(static_cast<unsigned char>(checksum >> shift));
  auto* copy = static_cast<unsigned char*>(std::malloc(stream.size()));
  if (copy == nullptr) return nullptr;
  std::memcpy(copy, stream.data(), stream.size());
  *compressed_size = static_cast<int>(stream.size());
  return copy;
} catch (const std::bad_alloc&) {
  return nullptr;
}

}  // namespace

#define STBIW_ZLIB_COMPRESS deflate_png
#define STBIW_CRC32(data, size) static_cast<unsigned int>(crc32(0, data, static_cast<uInt>(size)))
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
