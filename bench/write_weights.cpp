// Writes weights that the program can read, the stand-in among them, as a safetensors file with torchvision's
// names, so that all peers of the program compute with the same ones.
//
//   write_weights synthetic[:SEED]|FILE OUT.safetensors

#include <bit>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/error.h"
#include "host/network.h"
#include "host/output/atomic_file.h"
#include "host/weights.h"
#include "host/weights_formats.h"

namespace {

using namespace filterscope;

static_assert(std::endian::native == std::endian::little);

// [out, in, 3, 3] of Keras' [3, 3, in, out].
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

void write(const Weights& weights, const Network& network, const std::string& path) {
  const std::vector<int> indices = weights_formats::torchvision_indices(network);
  nlohmann::ordered_json header;
  std::vector<float> data;
  const auto add = [&](const std::string& name, const std::vector<int>& shape,
                       const std::vector<float>& values) {
    const std::size_t begin = data.size() * sizeof(float);
    data.insert(data.end(), values.begin(), values.end());
    header[name] = {
        {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size() * sizeof(float)}}};
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
  file.append(std::as_bytes(std::span(data)));
  file.commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: write_weights synthetic[:SEED]|FILE OUT.safetensors\n";
    return 2;
  }
  try {
    write(resolve_weights(argv[1], vgg16()), vgg16(), argv[2]);
  } catch (const Error& error) {
    std::cerr << "write_weights: " << error.what() << '\n';
    return error.exit_code();
  }
  return 0;
}
