#include "file_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace filterscope {

std::string layer_folder(const Network& network, int layer) {
  std::string name = network.convolutions.at(static_cast<std::size_t>(layer)).name;
  std::ranges::replace(name, '/', '_');
  return name;
}

std::string picture_file(const Network& network, FilterId id) {
  return fmt::format("{0}/{0}_f{1:04}.png", layer_folder(network, id.layer), id.filter);
}

std::string animation_file(const Network& network, FilterId id) {
  return fmt::format("{0}/{0}_f{1:04}.apng", layer_folder(network, id.layer), id.filter);
}

std::string sheet_file(const Network& network, int layer) {
  return layer_folder(network, layer) + "/sheet.png";
}

std::string curves_file(const Network& network, int layer) {
  return layer_folder(network, layer) + "/curves.svg";
}

std::string raw_file(const Network& network, int layer) {
  return fmt::format("{}/{}.npy", kRawFolder, layer_folder(network, layer));
}

std::string raw_image_file(const Network& network, FilterId id) {
  return fmt::format("{}/{}_f{:04}.npy", kRawFolder, layer_folder(network, id.layer), id.filter);
}

}  // namespace filterscope
