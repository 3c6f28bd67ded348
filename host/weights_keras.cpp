#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <new>
#include <span>
#include <utility>

#include "error.h"
#include "weights_formats.h"

// Keras has written three layouts, all read here:
//   Keras 1 and 2, weights: the attribute `layer_names` names a group per layer, whose attribute
//   `weight_names` names its
//     datasets: `block1_conv1_W_1:0`, or a nested `block1_conv1/kernel:0`.
//   Keras 1 and 2, whole model: the same inside the group `model_weights`. A network that is a layer of
//   another one has
//     one group with all its datasets, told apart by their names' first part.
//   Keras 3, `.weights.h5`: no attributes but a folder per layer with a group `vars` of datasets 0 (kernel)
//   and 1 (bias).
//     Folders are named after the layer's class and counted (`layers/conv2d`, `layers/conv2d_1`, in the
//     network's order); since Keras 3.6 the layer's own name is the attribute `name` of `vars`.
// Nothing that the file says about sizes is believed before it is compared with what the network needs.

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

/// Far above what Keras' networks have, and far below what would take noticeable time or memory.
constexpr hsize_t kMaxNames = 4096;
constexpr std::size_t kMaxNameLength = 4096;
constexpr int kMaxDepth = 10;
constexpr int kMaxGroups = 20000;

/// An HDF5 identifier that is closed with its scope.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  explicit operator bool() const { return id_ >= 0; }
  hid_t get() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

/// Keeps HDF5 from printing its error stack; what matters of it goes into an Error.
class QuietErrors {
 public:
  QuietErrors() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

/// The innermost description on HDF5's error stack. std::bad_alloc where memory was lacking.
std::string hdf5_says() {
  std::string text;
  bool no_memory = false;
  const auto look = [&](unsigned depth, const H5E_error2_t& error) {
    if (depth == 0 && error.desc != nullptr) text = error.desc;
    no_memory = no_memory || error.maj_num == H5E_RESOURCE;
  };
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned depth, const H5E_error2_t* error, void* data) -> herr_t {
        (*static_cast<decltype(look)*>(data))(depth, *error);
        return 0;
      },
      const_cast<void*>(static_cast<const void*>(&look)));
  H5Eclear2(H5E_DEFAULT);
  if (no_memory) throw std::bad_alloc();
  if (text.size() > 200) text.resize(200);
  return text.empty() ? "" : fmt::format(" (HDF5: {})", text);
}

class KerasFile {
 public:
  KerasFile(const fs::path& path, const Network& network, const At& at)
      : path_(path), network_(network), at_(at), parts_(network.convolutions.size()) {}

  Layers read() {
    at_("the superblock");
    Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
    // Weights often lie on a read-only or network file system that cannot lock.
    H5Pset_file_locking(access.get(), false, true);
#endif
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
    if (!file) damaged("the file");
    const Handle root(H5Gopen2(file.get(), "/", H5P_DEFAULT), H5Gclose);
    if (!root) damaged("the root group");

    if (has_names(root.get(), "layer_names")) {
      read_named(root.get(), "");
    } else if (has_link(root.get(), "model_weights")) {
      const Handle weights = open_path(root.get(), "model_weights", "");
      if (!has_names(weights.get(), "layer_names")) {
        fail("group /model_weights: expected Keras' attribute layer_names, found none");
      }
      read_named(weights.get(), "/model_weights");
    } else {
      read_counted(root.get());
    }
    return whole_layers(path_, network_, std::move(parts_), contents_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::input, fmt::format("{}: {}", path_.string(), what));
  }
  [[noreturn]] void damaged(const std::string& what) const {
    fail(fmt::format("{} cannot be read{}; the file is damaged or incomplete: get it again", what,
                     hdf5_says()));
  }

  static bool has_attribute(hid_t object, const std::string& name) {
    return H5Aexists(object, name.c_str()) > 0;
  }
  /// Keras splits an attribute that is too long for HDF5 into name0, name1, ...
  static bool has_names(hid_t object, const std::string& name) {
    return has_attribute(object, name) || has_attribute(object, name + "0");
  }
  static bool has_link(hid_t group, const std::string& name) {
    return H5Lexists(group, name.c_str(), H5P_DEFAULT) > 0;
  }

  /// The object at `names`, parts separated by slashes, below `group`. Only hard links are followed: an
  /// external or a soft link could lead anywhere, and Keras makes none.
  Handle open_path(hid_t group, std::string_view names, const std::string& group_path) const {
    Handle object(H5I_INVALID_HID, H5Oclose);
    std::string path = group_path;
    while (!names.empty()) {
      const std::size_t slash = names.find('/');
      const std::string name(names.substr(0, slash));
      names = slash == std::string_view::npos ? std::string_view{} : names.substr(slash + 1);
      if (name.empty() || name == ".") continue;
      path += "/" + name;
      const hid_t parent = object ? object.get() : group;
      if (H5Iget_type(parent) != H5I_GROUP)
        fail(fmt::format("expected a group above {}, found a dataset", path));
      if (!has_link(parent, name)) {
        H5Eclear2(H5E_DEFAULT);
        fail(fmt::format(
            "{} is listed in the file but is not there; the file is damaged or incomplete: get it again",
            path));
      }
      H5L_info_t info{};
      if (H5Lget_info(parent, name.c_str(), &info, H5P_DEFAULT) < 0) damaged(path);
      if (info.type != H5L_TYPE_HARD)
        fail(fmt::format("{}: expected an object, found a soft or external link", path));
      object = Handle(H5Oopen(parent, name.c_str(), H5P_DEFAULT), H5Oclose);
      if (!object) damaged(path);
    }
    if (!object) fail(fmt::format("an empty name is listed in group {}/", group_path));
    return object;
  }

  /// The strings of an attribute, of fixed or of variable length.
  std::vector<std::string> strings(hid_t object, const std::string& name,
                                   const std::string& object_path) const {
    const std::string where =
        fmt::format("attribute {} of {}", name, object_path.empty() ? "/" : object_path);
    const Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
    if (!attribute) damaged(where);
    const Handle space(H5Aget_space(attribute.get()), H5Sclose);
    const Handle type(H5Aget_type(attribute.get()), H5Tclose);
    if (!space || !type) damaged(where);
    const hssize_t count = H5Sget_simple_extent_npoints(space.get());
    if (count < 0) damaged(where);
    // A layer without weights has an empty list, which Keras writes as one of floats.
    if (count == 0) return {};
    if (static_cast<hsize_t>(count) > kMaxNames) {
      fail(fmt::format("{}: expected at most {} names, found {}", where, kMaxNames, count));
    }
    if (H5Tget_class(type.get()) != H5T_STRING)
      fail(fmt::format("{}: expected strings, found {}", where, type_text(type.get())));

    std::vector<std::string> result;
    if (H5Tis_variable_str(type.get()) > 0) {
      const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
      H5Tset_size(memory.get(), H5T_VARIABLE);
      H5Tset_cset(memory.get(), H5Tget_cset(type.get()));
      std::vector<char*> pointers(count, nullptr);
      if (H5Aread(attribute.get(), memory.get(), pointers.data()) < 0) damaged(where);
      for (const char* pointer : pointers) {
        const std::size_t length = pointer == nullptr ? 0 : strnlen(pointer, kMaxNameLength + 1);
        result.emplace_back(length == 0 ? "" : std::string(pointer, length));
      }
      H5Dvlen_reclaim(memory.get(), space.get(), H5P_DEFAULT, pointers.data());
    } else {
      const std::size_t size = H5Tget_size(type.get());
      if (size == 0 || size > kMaxNameLength)
        fail(fmt::format("{}: expected names of up to {} bytes, found {}", where, kMaxNameLength, size));
      std::vector<char> bytes(static_cast<std::size_t>(count) * size);
      if (H5Aread(attribute.get(), type.get(), bytes.data()) < 0) damaged(where);
      for (hssize_t i = 0; i < count; ++i) {
        const char* start = bytes.data() + static_cast<std::size_t>(i) * size;
        std::string text(start, strnlen(start, size));
        if (H5Tget_strpad(type.get()) == H5T_STR_SPACEPAD) text.erase(text.find_last_not_of(' ') + 1);
        result.push_back(std::move(text));
      }
    }
    for (const std::string& text : result) {
      if (text.size() > kMaxNameLength)
        fail(fmt::format("{}: expected names of up to {} bytes, found more", where, kMaxNameLength));
    }
    return result;
  }

  std::vector<std::string> names(hid_t object, const std::string& name,
                                 const std::string& object_path) const {
    if (has_attribute(object, name)) return strings(object, name, object_path);
    std::vector<std::string> result;
    for (int part = 0; has_attribute(object, name + std::to_string(part)); ++part) {
      for (std::string& text : strings(object, name + std::to_string(part), object_path))
        result.push_back(std::move(text));
      if (result.size() > kMaxNames)
        fail(fmt::format("{}: expected at most {} {}", object_path, kMaxNames, name));
    }
    return result;
  }

  void read_named(hid_t root, const std::string& root_path) {
    at_("the attribute layer_names");
    for (const std::string& group_name : names(root, "layer_names", root_path)) {
      if (contents_.size() < kMaxNames) contents_.push_back(printable(group_name));
      at_(printable(group_name));
      refuse_foreign(group_name);
      const Handle group = open_path(root, group_name, root_path);
      const std::string group_path = fmt::format("{}/{}", root_path, group_name);
      if (!has_names(group.get(), "weight_names")) {
        if (network_.find(group_name)) {
          fail(fmt::format("group {}: expected Keras' attribute weight_names, found none", group_path));
        }
        continue;
      }
      int position = 0;
      for (const std::string& name : names(group.get(), "weight_names", group_path)) {
        for (std::string_view rest = name; !rest.empty();) {
          const std::size_t slash = std::min(rest.find('/'), rest.size());
          refuse_foreign(rest.substr(0, slash));
          rest.remove_prefix(std::min(slash + 1, rest.size()));
        }
        if (const auto layer = layer_of(group_name, name)) {
          const Handle dataset = open_path(group.get(), name, group_path);
          read_tensor(*layer, dataset.get(), fmt::format("{}/{}", group_path, name),
                      is_kernel(name, position));
        }
        ++position;
      }
    }
  }

  /// Keras names the convolutions of all VGGs alike, so what a file has more than this network tells that it
  /// is another one's.
  void refuse_foreign(std::string_view name) const {
    const auto digits = [&] {
      std::size_t count = 0;
      while (count < name.size() && name[count] >= '0' && name[count] <= '9') ++count;
      name.remove_prefix(count);
      return count > 0;
    };
    const auto word = [&](std::string_view expected) {
      if (!name.starts_with(expected)) return false;
      name.remove_prefix(expected.size());
      return true;
    };
    const std::string whole = printable(name);
    if (!word("block") || !digits() || !word("_conv") || !digits() || !name.empty()) return;
    if (network_.find(whole)) return;
    fail(fmt::format("holds {}, which {} does not have: these are another network's weights", whole,
                     network_.name));
  }

  std::optional<int> layer_of(std::string_view group_name, std::string_view weight_name) const {
    if (const auto layer = network_.find(group_name)) return layer;
    while (true) {
      const std::size_t slash = weight_name.find('/');
      if (slash == std::string_view::npos) return std::nullopt;
      if (const auto layer = network_.find(weight_name.substr(0, slash))) return layer;
      weight_name.remove_prefix(slash + 1);
    }
  }

  /// By the name's last part, as far as it tells; otherwise kernels come first.
  static bool is_kernel(std::string_view name, int position) {
    const std::string_view last = name.substr(name.rfind('/') + 1);
    if (last.starts_with("kernel")) return true;
    if (last.starts_with("bias")) return false;
    if (last.find("_W") != std::string_view::npos) return true;
    if (last.find("_b_") != std::string_view::npos || last.ends_with("_b") ||
        last.find("_b:") != std::string_view::npos)
      return false;
    return position == 0;
  }

  /// A group `vars` of a Keras 3 file.
  struct Vars {
    std::string path;
    std::string folder;      ///< Last part of the path above.
    std::string layer_name;  ///< The attribute `name`, or nothing.
  };

  void collect_vars(hid_t group, const std::string& path, const std::string& name, int depth,
                    std::vector<Vars>& found) {
    H5G_info_t info{};
    if (++groups_seen_ > kMaxGroups || depth > kMaxDepth || H5Gget_info(group, &info) < 0 ||
        info.nlinks > kMaxNames) {
      damaged(fmt::format("group {}/", path));
    }
    for (hsize_t i = 0; i < info.nlinks; ++i) {
      std::array<char, kMaxNameLength> buffer{};
      if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, buffer.data(), buffer.size(),
                             H5P_DEFAULT) < 0) {
        damaged(fmt::format("group {}/", path));
      }
      const std::string child_name(buffer.data(), strnlen(buffer.data(), buffer.size()));
      const std::string child_path = path + "/" + child_name;
      at_(child_path);
      const Handle child = open_path(group, child_name, path);
      if (H5Iget_type(child.get()) != H5I_GROUP) continue;
      if (child_name != "vars") {
        collect_vars(child.get(), child_path, child_name, depth + 1, found);
        continue;
      }
      Vars vars{.path = child_path, .folder = name, .layer_name = {}};
      if (has_attribute(child.get(), "name")) {
        const std::vector<std::string> given = strings(child.get(), "name", child_path);
        if (!given.empty()) vars.layer_name = given.front();
      }
      H5G_info_t vars_info{};
      if (H5Gget_info(child.get(), &vars_info) < 0) damaged(child_path);
      if (vars_info.nlinks > 0) found.push_back(std::move(vars));
    }
  }

  /// N of "conv2d_N", 0 of "conv2d".
  static std::optional<int> convolution_count(std::string_view folder) {
    constexpr std::string_view kClass = "conv2d";
    if (!folder.starts_with(kClass)) return std::nullopt;
    folder.remove_prefix(kClass.size());
    if (folder.empty()) return 0;
    int count = 0;
    const auto [end, error] = std::from_chars(folder.data() + 1, folder.data() + folder.size(), count);
    if (folder[0] != '_' || error != std::errc{} || end != folder.data() + folder.size() || count < 1)
      return std::nullopt;
    return count;
  }

  void read_counted(hid_t root) {
    std::vector<Vars> found;
    collect_vars(root, "", "", 0, found);
    if (found.empty()) {
      fail(
          "HDF5, but not Keras weights: expected the attribute layer_names or a group `vars` for each layer, "
          "found neither");
    }
    std::vector<std::pair<int, const Vars*>> matches;
    for (const Vars& vars : found) {
      refuse_foreign(vars.layer_name);
      refuse_foreign(vars.folder);
      auto layer = network_.find(vars.layer_name);
      if (!layer) layer = network_.find(vars.folder);
      if (layer) matches.emplace_back(*layer, &vars);
      contents_.push_back(printable(vars.layer_name.empty() ? vars.folder : vars.layer_name));
    }
    // Counted folders tell the order alone; where names are to be had, a counted folder is something else's.
    if (matches.empty()) {
      for (const Vars& vars : found) {
        const auto count = convolution_count(vars.folder);
        if (!count) continue;
        if (*count >= network_.layer_count()) {
          fail(
              fmt::format("{}: expected at most the {} convolutions of {}, found number {}. These are "
                          "another network's weights",
                          vars.path, network_.layer_count(), network_.name, *count + 1));
        }
        matches.emplace_back(*count, &vars);
      }
    }
    for (const auto& [layer, vars] : matches) {
      at_(vars->path);
      const Handle group = open_path(root, vars->path, "");
      for (const char* name : {"0", "1"}) {
        if (!has_link(group.get(), name)) continue;
        const Handle dataset = open_path(group.get(), name, vars->path);
        read_tensor(layer, dataset.get(), fmt::format("{}/{}", vars->path, name), *name == '0');
      }
    }
  }

  /// Names from a damaged file may hold anything.
  static std::string printable(std::string_view name) {
    std::string text(name.substr(0, 80));
    for (char& c : text) {
      if (c < ' ' || c > '~') c = '?';
    }
    return text;
  }

  static std::string type_text(hid_t type) {
    const std::size_t bits = 8 * H5Tget_size(type);
    switch (H5Tget_class(type)) {
      case H5T_FLOAT:
        return fmt::format("float{}", bits);
      case H5T_INTEGER:
        return fmt::format("{}int{}", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
      case H5T_STRING:
        return "strings";
      case H5T_OPAQUE:
        return fmt::format("opaque values of {} bits (bfloat16?)", bits);
      case H5T_COMPOUND:
        return "compound values";
      default:
        return fmt::format("another type of {} bits", bits);
    }
  }

  /// IEEE 754 binary16, 32 and 64 in either byte order; HDF5 converts these to float, rounding to nearest.
  static bool is_ieee(hid_t type) {
    for (const hid_t known : {H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_IEEE_F64BE}) {
      if (H5Tequal(type, known) > 0) return true;
    }
    const Handle half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
    H5Tset_fields(half.get(), 15, 10, 5, 0, 10);
    H5Tset_size(half.get(), 2);
    H5Tset_ebias(half.get(), 15);
    if (H5Tequal(type, half.get()) > 0) return true;
    H5Tset_order(half.get(), H5T_ORDER_BE);
    return H5Tequal(type, half.get()) > 0;
  }

  void read_tensor(int layer, hid_t dataset, const std::string& dataset_path, bool is_kernel) {
    const Convolution& convolution = network_.convolutions[layer];
    const std::string where = fmt::format("layer {}: dataset {}", convolution.name, printable(dataset_path));
    at_(where);
    if (H5Iget_type(dataset) != H5I_DATASET)
      fail(fmt::format("{}: expected a dataset, found a group or a type", where));
    const Handle space(H5Dget_space(dataset), H5Sclose);
    const Handle type(H5Dget_type(dataset), H5Tclose);
    const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
    if (!space || !type || !creation) damaged(where);

    std::vector<std::uint64_t> expected{static_cast<std::uint64_t>(convolution.out_channels)};
    if (is_kernel)
      expected.insert(expected.begin(), {3, 3, static_cast<std::uint64_t>(convolution.in_channels)});
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0 || rank > H5S_MAX_RANK) damaged(where);
    std::vector<hsize_t> extent(rank);
    if (rank > 0 && H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr) < 0) damaged(where);
    const std::vector<std::uint64_t> shape(extent.begin(), extent.end());
    if (shape != expected || !is_ieee(type.get())) {
      fail(fmt::format("{}: expected float32 {}, found {} {}. {}", where, shape_text(expected),
                       type_text(type.get()), shape_text(shape),
                       shape == expected ? "Save the weights as float32"
                                         : fmt::format("These are not {}'s weights", network_.name)));
    }
    // Values in other files, or in chunks larger than the dataset (which HDF5 would allocate), are not of
    // Keras' making.
    const H5D_layout_t layout = H5Pget_layout(creation.get());
    std::uint64_t values_count = 1;
    for (const std::uint64_t side : expected) values_count *= side;
    if (layout == H5D_CHUNKED) {
      std::vector<hsize_t> chunk(rank);
      if (H5Pget_chunk(creation.get(), rank, chunk.data()) != rank) damaged(where);
      for (int i = 0; i < rank; ++i) {
        if (chunk[i] == 0 || chunk[i] > extent[i]) damaged(where);
      }
    } else if ((layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) ||
               H5Pget_external_count(creation.get()) != 0) {
      fail(fmt::format("{}: expected values in this file, found them in another or in no known layout",
                       where));
    }

    PartialLayer& part = parts_[layer];
    std::optional<std::vector<float>>& target = is_kernel ? part.kernel : part.bias;
    std::string& target_name = is_kernel ? part.kernel_name : part.bias_name;
    if (target)
      fail(fmt::format("{}: the layer has this {} already, in {}", where, is_kernel ? "kernel" : "bias",
                       target_name));
    std::vector<float> values(values_count);
    if (H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) damaged(where);
    require_finite(path_, convolution.name, fmt::format("dataset {}", printable(dataset_path)), expected,
                   values);
    target = std::move(values);
    target_name = printable(dataset_path);
  }

  const fs::path& path_;
  const Network& network_;
  const At& at_;
  std::vector<PartialLayer> parts_;
  std::vector<std::string> contents_;
  int groups_seen_ = 0;
};

}  // namespace

Layers read_keras_hdf5_unguarded(const fs::path& file, const Network& network, const At& at) {
  const QuietErrors quiet;
  return KerasFile(file, network, at).read();
}

Layers read_keras_hdf5(const fs::path& file, const Network& network, const ChildLimits& limits,
                       const std::function<void()>& meanwhile) {
  const auto reader = [&](const At& at) {
    // No filter plug-ins: they are other code, picked by a number in the file.
    H5PLset_loading_state(0);
    return read_keras_hdf5_unguarded(file, network, at);
  };
  return read_in_child(file, network, reader, limits, meanwhile);
}

}  // namespace filterscope::weights_formats
