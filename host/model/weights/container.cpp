#include "container.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "../../base/error.h"

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAccepted =
    "expected Keras' HDF5 weights (.h5) or safetensors with torchvision's names; see weights/README.md";

constexpr std::string_view kConvertPyTorch =
    "Convert PyTorch's with: python3 -c \"import sys, torch, safetensors.torch as s; s.save_file({k: "
    "v.contiguous() for k, v in torch.load(sys.argv[1], map_location='cpu').items()}, sys.argv[2])\" IN.pth "
    "OUT.safetensors";

/// HDF5's signature is at the start or, after a user block, at byte 512, 1024, 2048, and so on.
bool has_hdf5_signature(std::istream& stream, std::uintmax_t size) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  for (std::uintmax_t at = 0; at + kSignature.size() <= size; at = std::max<std::uintmax_t>(512, 2 * at)) {
    std::array<char, kSignature.size()> bytes{};
    stream.clear();
    stream.seekg(static_cast<std::streamoff>(at));
    stream.read(bytes.data(), bytes.size());
    if (std::string_view(bytes.data(), bytes.size()) == kSignature) return true;
  }
  return false;
}

/// A header in JSON follows its length in 8 bytes. The length may look like the start of another format. The
/// reader reports files that are shorter than it says.
bool is_safetensors(std::string_view head) {
  if (head.size() <= 8 || head[8] != '{') return false;
  std::uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<unsigned char>(head[i]);
  return header_size < (std::uint64_t{1} << 32);
}

/// What a file is that is neither HDF5 nor safetensors, and what to do with it.
std::string other_format(const fs::path& path, std::string_view head, std::string_view tail) {
  using namespace std::string_view_literals;
  const auto holds = [&](std::string_view text) { return head.find(text) != std::string_view::npos; };
  const std::string name = path.filename().string();
  if (head.empty()) return "an empty file";
  if (head.starts_with("PK\x03\x04"sv)) {
    if (path.extension() == ".keras" || holds("metadata.json") || holds("model.weights.h5"))
      return "a .keras archive: unpack it (`unzip`) and give the model.weights.h5 inside, with the "
             "config.json next to it";
    if (path.extension() == ".npz" || holds(".npy"))
      return "an archive of NumPy arrays (.npz), which does not say which layers they belong to";
    return fmt::format("a PyTorch pickle or another archive, which this program does not open. {}",
                       kConvertPyTorch);
  }
  if (head.starts_with("version https://git-lfs"sv))
    return "a Git LFS pointer: run `git lfs pull` in the repository that it came from";
  if (head[0] == '<') return "a web page or XML, perhaps left by a failed download: download it again";
  if (head[0] == '{' || head[0] == '[') {
    return "JSON, such as the index of weights in several files: join them into one file (with PyTorch, load "
           "all of them and save one safetensors file; with Keras, load the model and use save_weights)";
  }
  if (head.starts_with("model_checkpoint_path"sv) || tail == "\x57\xfb\x80\x8b\x24\x75\x47\xdb"sv ||
      name.find(".data-0") != std::string::npos) {
    return "part of a TensorFlow checkpoint: load it in Keras with model.load_weights and save it with "
           "model.save_weights('OUT.weights.h5')";
  }
  if (name == "saved_model.pb" || name == "keras_metadata.pb") {
    return "part of a TensorFlow SavedModel: load its folder in Keras and save it with "
           "model.save_weights('OUT.weights.h5')";
  }
  if (path.extension() == ".onnx") return "an ONNX model";
  if (path.extension() == ".caffemodel") return "a Caffe model";
  if (head.starts_with("\x93NUMPY"sv)) return "a NumPy array";
  if (head.starts_with("GGUF"sv)) return "a GGUF file";
  if (head.starts_with("MATLAB"sv)) return "a MATLAB file";
  if (head.substr(std::min<std::size_t>(head.size(), 4)).starts_with("TFL3"sv))
    return "a TensorFlow Lite model";
  for (const std::string_view magic : {"\x1f\x8b"sv, "\x28\xb5\x2f\xfd"sv,
                                       "\xfd"
                                       "7zXZ"sv,
                                       "BZh"sv}) {
    if (head.starts_with(magic)) return "a compressed file: unpack it";
  }
  if (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5)
    return fmt::format("a PyTorch pickle, which this program does not open. {}", kConvertPyTorch);
  return "neither HDF5 nor safetensors";
}

}  // namespace

Container container_of(const fs::path& path, std::istream& stream, std::uintmax_t size) {
  std::array<char, 128> head_bytes{};
  stream.read(head_bytes.data(), head_bytes.size());
  if (stream.bad())
    throw Error(ErrorKind::input, fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  const std::string_view head(head_bytes.data(), static_cast<std::size_t>(stream.gcount()));
  if (is_safetensors(head)) return Container::safetensors;
  if (has_hdf5_signature(stream, size)) return Container::hdf5;
  std::array<char, 8> tail{};
  if (size >= tail.size()) {
    stream.clear();
    stream.seekg(-static_cast<std::streamoff>(tail.size()), std::ios::end);
    stream.read(tail.data(), tail.size());
  }
  throw Error(ErrorKind::input, fmt::format("{}: this is {}; {}", path.string(),
                                            other_format(path, head, {tail.data(), tail.size()}), kAccepted));
}

}  // namespace filterscope::weights_formats
