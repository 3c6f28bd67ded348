// Writes any weights that the program can read, also synthetic ones, as a safetensors file with torchvision's
// names, so that all peers of the program use the same weights, or a smaller file can be transferred to
// another machine. The program then takes them for torchvision's, which were trained on other inputs; only a
// recipe that uses the weights' own input mapping would notice.
//
//   write_weights synthetic[:SEED]|FILE OUT.safetensors [F32|F16]

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/base/atomic_file.h"
#include "host/base/error.h"
#include "host/model/network.h"
#include "host/model/weights/formats.h"
#include "host/model/weights/weights.h"

namespace {

using namespace filterscope;

static_assert(std::endian::native == std::endian::little);

// Converts Keras' [3, 3, in, out] to [out, in, 3, 3].
std::vector<float> torchvision_kernel(const LayerWeights& weights, const Convolution& convolution) {
  const int in = convolution.in_channels;
  const int out = convolution.out_channels;
  std::vector<float> kernel;
  kernel.reserve(weights.kernel.size());
  for (int o = 0; o < out; ++o)
    for (int i = 0; i < in; ++i)
      for (int tap = 0; tap < 9; ++tap) kernel.push_back(weights.kernel[(tap * in + i) * out + o]);
  return kernel;
}

// Converts to IEEE binary16, rounded to nearest, ties to even. The magnitude must be below 65520, as that of
// any sensible weight is.
std::uint16_t to_float16(float value) {
  constexpr int kMantissaBits = 10;
  constexpr int kSmallestExponent = -14;  // The smallest of a normal number.
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  int exponent = 0;
  std::frexp(value, &exponent);  // The magnitude is in [2^(exponent - 1), 2^exponent).
  exponent = value == 0 ? kSmallestExponent : std::max(exponent - 1, kSmallestExponent);
  // In units of the last place. Rounding up to the next power of two carries into the exponent.
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(std::abs(value), kMantissaBits - exponent)));
  return static_cast<std::uint16_t>(sign | (((exponent - kSmallestExponent) << kMantissaBits) + units));
}

void write(const Weights& weights, const Network& network, const std::string& path, bool as_float16) {
  const std::vector<int> indices = weights_formats::torchvision_indices(network);
  nlohmann::ordered_json header;
  std::vector<std::byte> data;
  const auto add = [&](const std::string& name, const std::vector<int>& shape,
                       const std::vector<float>& values) {
    const std::size_t begin = data.size();
    const auto append = [&](const auto& stored) {
      const auto bytes = std::as_bytes(std::span(stored));
      data.insert(data.end(), bytes.begin(), bytes.end());
    };
    if (as_float16) {
      std::vector<std::uint16_t> halves(values.size());
      std::ranges::transform(values, halves.begin(), to_float16);
      append(halves);
    } else {
      append(values);
    }
    header[name] = {
        {"dtype", as_float16 ? "F16" : "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  for (int layer = 0; layer < network.layer_count(); ++layer) {
    if (!weights.holds(layer)) continue;
    const Convolution& convolution = network.convolutions[layer];
    const std::string name = "features." + std::to_string(indices[layer]);
    add(name + ".weight", {convolution.out_channels, convolution.in_channels, 3, 3},
        torchvision_kernel(*weights.layers[layer], convolution));
    add(name + ".bias", {convolution.out_channels}, weights.layers[layer]->bias);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  AtomicFile file(path, "the second argument");
  file.append(std::as_bytes(std::span(&length, 1)));
  file.append(std::as_bytes(std::span(text)));
  file.append(data);
  file.commit();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string type = argc == 4 ? argv[3] : "F32";
  if (argc < 3 || argc > 4 || (type != "F32" && type != "F16")) {
    std::cerr << "usage: write_weights synthetic[:SEED]|FILE OUT.safetensors [F32|F16]\n";
    return 2;
  }
  try {
    write(resolve_weights(argv[1], vgg16()), vgg16(), argv[2], type == "F16");
  } catch (const Error& error) {
    std::cerr << "write_weights: " << error.what() << '\n';
    return error.exit_code();
  }
  return 0;
}
