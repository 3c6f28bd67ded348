#include "sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mbedtls/md.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <vector>

#include "error.h"
#include "exhaustion.h"

namespace filterscope {

std::string sha256_of_file(const std::filesystem::path& path) {
  struct Context {
    mbedtls_md_context_t md;
    Context() { mbedtls_md_init(&md); }
    ~Context() { mbedtls_md_free(&md); }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
  } context;
  const mbedtls_md_info_t* algorithm = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
  std::array<unsigned char, 32> digest{};
  bool good = algorithm != nullptr && mbedtls_md_setup(&context.md, algorithm, 0) == 0 &&
              mbedtls_md_starts(&context.md) == 0;
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream)
    throw Error(ErrorKind::input, fmt::format("{}: cannot be opened: {}{}", path.string(),
                                              std::generic_category().message(errno), reading_advice(errno)));
  std::vector<char> buffer(1 << 20);
  while (good && stream) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    good = mbedtls_md_update(&context.md, reinterpret_cast<const unsigned char*>(buffer.data()),
                             static_cast<std::size_t>(stream.gcount())) == 0;
  }
  good = good && stream.eof() && mbedtls_md_finish(&context.md, digest.data()) == 0;
  if (!good) throw Error(ErrorKind::input, fmt::format("{}: could not be read to its end", path.string()));
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace filterscope
