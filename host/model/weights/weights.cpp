#include "weights.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>
#include <system_error>
#include <utility>

#include "../../base/error.h"
#include "../../base/exhaustion.h"
#include "../../base/sha256.h"
#include "container.h"
#include "formats.h"
#include "places.h"

namespace filterscope {

namespace fs = std::filesystem;

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
  using namespace weights_formats;
  if (is_folder(path)) {
    throw Error(ErrorKind::input,
                fmt::format("{}: expected a weights file, found {}", path.string(), folder_text(path)));
  }
  if (!is_file(path)) {
    throw Error(ErrorKind::input,
                fmt::format("{}: {}; {}", path.string(), missing_text(path), kWeightsAdvice));
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
  FileContents contents;
  if (container == Container::hdf5) {
    weights.kind = WeightsKind::keras_hdf5;
    weights.natural_input = keras_mapping();
    contents = read_keras_hdf5(path, network, {}, hash);  // Both take about the same time.
  } else {
    weights.kind = WeightsKind::safetensors;
    weights.natural_input = torchvision_mapping();
    contents = read_safetensors(path, network);
    hash();
  }
  weights.layers = std::move(contents.layers);
  weights.conversions = std::move(contents.conversions);
  weights.notes = std::move(contents.notes);
  if (contents.images == Images::torchvision_features)
    weights.natural_input = torchvision_features_mapping();
  else if (contents.images == Images::unknown)
    weights.natural_input = std::nullopt;
  return weights;
}

}  // namespace filterscope
