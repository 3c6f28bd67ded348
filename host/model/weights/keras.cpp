#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <new>
#include <set>
#include <span>
#include <utility>

#include "../../base/error.h"
#include "../../base/text.h"
#include "formats.h"

// Keras has written three layouts, all read here:
//   Keras 1 and 2, weights: the attribute `layer_names` names a group per layer, whose attribute
//     `weight_names` names its datasets: `block1_conv1_W_1:0`, or a nested `block1_conv1/kernel:0`.
//   Keras 1 and 2, whole model: the same inside the group `model_weights`. A network that is a layer of
//     another one has one group with all its datasets, told apart by the first part of their names.
//   Keras 3, `.weights.h5`: no attributes but a folder per layer with a group `vars` of datasets 0 (kernel)
//     and 1 (bias). Folders are named after the layer's class and counted (`layers/conv2d`,
//     `layers/conv2d_1`, in the network's order); since Keras 3.6 the layer's own name is the attribute
//     `name` of `vars`.
// Kernels are [3, 3, in, out] since Keras 2, of correlations but for the Theano backend, which convolves:
// Keras 2 (not tf.keras) rotates them by 180 degrees between the two, by the attribute `backend`, and so does
// this reader. Keras 1 kept [out, in, 3, 3] for images in Theano's order and said nothing of the backend; its
// official files say so by their names. MXNet's fork of Keras 2 did the same, with correlations. A whole
// model has its configuration in the attribute `model_config`. Nothing that the file says about sizes is
// believed before it is compared with what the network needs.

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

/// Far above what Keras' networks have, and far below what would take noticeable time or memory.
constexpr hsize_t kMaxNames = 4096;
constexpr std::size_t kMaxNameLength = 4096;
constexpr int kMaxDepth = 10;
constexpr int kMaxGroups = 20000;
constexpr std::size_t kMaxDatasets = 20000;
constexpr std::size_t kMaxConfigLength = std::size_t{16} << 20;

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

/// What a layer does to what passes through it, as far as it matters here.
enum class Effect : std::uint8_t {
  none,
  preprocessing,
  normalisation,
  activation,
  pooling,
  convolution,
  other
};

/// "conv2d" of "conv2d_3": Keras names layers after their classes, and counts them.
std::string_view class_of(std::string_view name) {
  const std::size_t end = name.find_last_not_of("0123456789");
  const bool is_counted = end != std::string_view::npos && end + 1 < name.size() && name[end] == '_';
  return is_counted ? name.substr(0, end) : name;
}

Effect effect_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Effect>, 14> kEffects{
      {{"rescaling", Effect::preprocessing},
       {"normalization", Effect::preprocessing},
       {"batch_normalization", Effect::normalisation},
       {"layer_normalization", Effect::normalisation},
       {"group_normalization", Effect::normalisation},
       {"unit_normalization", Effect::activation},
       {"leaky_re_lu", Effect::activation},
       {"p_re_lu", Effect::activation},
       {"elu", Effect::activation},
       {"average_pooling2d", Effect::pooling},
       {"depthwise_conv2d", Effect::convolution},
       {"conv2d_transpose", Effect::convolution},
       {"separable_conv2d", Effect::convolution},
       {"lambda", Effect::other}}};
  const auto found = std::ranges::find(kEffects, class_of(name), &std::pair<std::string_view, Effect>::first);
  return found == kEffects.end() ? Effect::none : found->second;
}

/// Where a layer stands as to the network's convolutions.
enum class Place : std::uint8_t {
  before,
  among,
  unknown,
  elsewhere  ///< In another model, which images may pass through.
};

/// A layer of a file that is none of the network's convolutions.
struct Other {
  std::string path;    ///< In the file.
  std::string name;    ///< In its model, which may be its class and a number.
  std::string parent;  ///< Path of its model.
  Effect effect = Effect::none;
  Place place = Place::unknown;
  bool may_follow = false;  ///< It may stand after the last convolution.
  bool has_weights = false;
  std::size_t rank = 0;        ///< The highest of its weights.
  std::uint64_t channels = 0;  ///< What it gives, or normalises; 0: unknown.

  void add_weight(std::span<const std::uint64_t> shape) {
    has_weights = true;
    if (effect == Effect::activation || shape.size() < rank || shape.empty()) return;
    rank = shape.size();
    // The kernels of a Conv2DTranspose are [3, 3, out, in].
    channels = class_of(name) == "conv2d_transpose" && rank == 4 ? shape[2] : shape.back();
  }
  /// Whether it makes another network of one that it stands in. Not a matrix, which is another branch's.
  bool alters() const { return effect != Effect::none || (has_weights && rank != 2); }
  /// Has as many outputs as `channels` says.
  bool has_outputs() const { return rank >= 2 && (effect == Effect::none || effect == Effect::convolution); }
};

class KerasFile {
 public:
  KerasFile(const fs::path& path, const Network& network, const At& at)
      : path_(path), network_(network), at_(at), parts_(network.convolutions.size()) {}

  FileContents read() {
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

    read_model_config(root.get());
    if (has_names(root.get(), "layer_names")) {
      read_conventions(root.get(), root.get(), "");
      read_named(root.get(), "");
    } else if (has_link(root.get(), "model_weights")) {
      const Handle weights = open_path(root.get(), "model_weights", "");
      if (!has_names(weights.get(), "layer_names")) {
        fail("group /model_weights: expected Keras' attribute layer_names, found none");
      }
      read_conventions(root.get(), weights.get(), "/model_weights");
      read_named(weights.get(), "/model_weights");
    } else if (has_attribute(root.get(), "nb_layers")) {
      fail(
          "Keras 0's weights, which number their layers (layer_0/param_0) and tell neither names nor the "
          "backend; weights/fetch.sh gets the same network's for today's Keras");
    } else {
      read_conventions(root.get(), root.get(), "");
      read_counted(root.get());
    }
    result_.layers = whole_layers(path_, network_, std::move(parts_), contents_);
    if (order_ && *order_ != KernelOrder::hwio)
      result_.conversions.push_back("kernels transposed from [out, in, 3, 3]");
    if (rotated_)
      result_.conversions.push_back(fmt::format("kernels rotated by 180 degrees, since {}", convention_));
    if (!before_.empty()) {
      result_.images = Images::unknown;
      result_.notes.push_back(
          fmt::format("without what its images {}pass through before {}: {}", is_uncertain_ ? "may " : "",
                      network_.convolutions.front().name,
                      fmt::join(std::span(before_).first(std::min<std::size_t>(before_.size(), 5)), ", ")));
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::input, fmt::format("{}: {}", path_.string(), what));
  }
  [[noreturn]] void damaged(const std::string& what, const std::string& says = hdf5_says()) const {
    if (says.find("h5clear") != std::string::npos) {
      fail(
          fmt::format("{} cannot be read{}: a program writes it or ended without closing it; when none does, "
                      "`h5clear -s FILE` marks it as closed",
                      what, says));
    }
    if (says.find("version") != std::string::npos) {
      fail(fmt::format(
          "{} cannot be read{}: it is written in a newer format than this program's HDF5 {}.{}.{} knows "
          "(`h5repack --high=1 IN OUT` of the newer HDF5 writes an older one), or damaged: get it again",
          what, says, H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE));
    }
    fail(fmt::format("{} cannot be read{}; the file is damaged or incomplete: get it again", what, says));
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
        fail(fmt::format("expected a group above {}, found a dataset", printable(path)));
      if (!has_link(parent, name)) {
        H5Eclear2(H5E_DEFAULT);
        fail(fmt::format(
            "{} is listed in the file but is not there; the file is damaged or incomplete: get it again",
            printable(path)));
      }
      H5L_info_t info{};
      if (H5Lget_info(parent, name.c_str(), &info, H5P_DEFAULT) < 0) damaged(printable(path));
      if (info.type != H5L_TYPE_HARD)
        fail(fmt::format("{}: expected an object, found a soft or external link", printable(path)));
      Handle child(H5Oopen(parent, name.c_str(), H5P_DEFAULT), H5Oclose);
      if (!child)
        damaged(printable(path));  // Before the parent is closed, with which HDF5 would forget the reason.
      object = std::move(child);
    }
    if (!object) fail(fmt::format("an empty name is listed in group {}/", printable(group_path)));
    return object;
  }

  /// The strings of an attribute, of fixed or of variable length.
  std::vector<std::string> strings(hid_t object, const std::string& name, const std::string& object_path,
                                   std::size_t max_length = kMaxNameLength) const {
    const std::string where =
        fmt::format("attribute {} of {}", name, object_path.empty() ? "/" : printable(object_path));
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
        const std::size_t length = pointer == nullptr ? 0 : strnlen(pointer, max_length + 1);
        result.emplace_back(length == 0 ? "" : std::string(pointer, length));
      }
      H5Dvlen_reclaim(memory.get(), space.get(), H5P_DEFAULT, pointers.data());
    } else {
      const std::size_t size = H5Tget_size(type.get());
      if (size == 0 || size > max_length)
        fail(fmt::format("{}: expected names of up to {} bytes, found {}", where, max_length, size));
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
      if (text.size() > max_length)
        fail(fmt::format("{}: expected names of up to {} bytes, found more", where, max_length));
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
        fail(fmt::format("{}: expected at most {} {}", printable(object_path), kMaxNames, name));
    }
    return result;
  }

  /// An attribute of one string; empty if there is none.
  std::string string(hid_t object, const std::string& name, const std::string& object_path,
                     std::size_t max_length = kMaxNameLength) const {
    if (!has_attribute(object, name)) return "";
    const std::vector<std::string> found = strings(object, name, object_path, max_length);
    return found.empty() ? "" : found.front();
  }

  void read_model_config(hid_t root) {
    at_("the attribute model_config");
    std::string config = string(root, "model_config", "", kMaxConfigLength);
    std::string where = "the attribute model_config";
    if (config.empty() && path_.filename() == "model.weights.h5") {
      // Out of a .keras archive, which keeps the model's configuration beside its weights.
      std::error_code error;
      const fs::path beside = path_.parent_path() / "config.json";
      if (const auto size = fs::file_size(beside, error); !error && size <= kMaxConfigLength) {
        std::ifstream stream(beside, std::ios::binary);
        config.assign(std::istreambuf_iterator<char>(stream), {});
        where = "the config.json beside this file";
      }
    }
    if (config.empty()) return;
    KerasModel model = examine_keras_model(config, network_);
    if (!model.damage.empty()) fail(fmt::format("{} {}; it is damaged: get it again", where, model.damage));
    if (!model.difference.empty())
      fail(fmt::format("{}: the model of {} is another network than {}", model.difference, where,
                       network_.name));
    before_ = std::move(model.before);
    described_ = model.described;
    configured_ = true;
  }

  /// `weights` is the group that Keras' own loader asks; the root may repeat it.
  void read_conventions(hid_t root, hid_t weights, const std::string& weights_path) {
    at_("the attributes backend and keras_version");
    const auto attribute = [&](const char* name) {
      const std::string of_weights = string(weights, name, weights_path);
      const std::string of_root = string(root, name, "");
      if (!of_weights.empty() && !of_root.empty() && of_weights != of_root) {
        fail(fmt::format("attribute {}: {} says {} and / says {}", name, weights_path, printable(of_weights),
                         printable(of_root)));
      }
      return of_weights.empty() ? of_root : of_weights;
    };
    const std::string version = attribute("keras_version");
    if (!version.empty() &&
        (version.size() < 2 ? version != "1" : version[1] != '.' || version[0] < '0' || version[0] > '3')) {
      fail(fmt::format(
          "attribute keras_version: expected 0 to 3, found {}, whose conventions this program does not "
          "know",
          printable(version)));
    }
    // A link may have another name than the file.
    std::error_code error;
    const std::string name = path_.filename().string();
    const std::string target = fs::canonical(path_, error).filename().string();
    const auto says = [&](const char* kernels) {
      return name.find(kernels) != std::string::npos || target.find(kernels) != std::string::npos;
    };
    const bool theano_name = says("th_kernels");
    const bool tensorflow_name = says("tf_kernels");
    if (theano_name && tensorflow_name) {
      fail(
          fmt::format("its name {} and that of the file it links to, {}, say both th_kernels and tf_kernels; "
                      "give the file itself",
                      printable(name), printable(target)));
    }
    const std::string backend = attribute("backend");
    if (backend.empty()) {
      rotated_ = theano_name;
      // What another program has written may have any order; since Keras 2 it is one.
      may_be_oihw_ = (theano_name || tensorflow_name) && (version.empty() || version[0] < '2');
      if (theano_name) convention_ = "the file's name says th_kernels";
      return;
    }
    constexpr std::array<std::string_view, 9> kCorrelating{
        "tensorflow", "cntk",  "mxnet", "plaidml", "plaidml.keras.backend",
        "jax",        "torch", "numpy", "openvino"};
    rotated_ = backend == "theano";
    may_be_oihw_ = backend == "mxnet";
    convention_ = fmt::format("the file's backend is {}", printable(backend));
    if (!rotated_ && std::ranges::find(kCorrelating, backend) == kCorrelating.end()) {
      fail(fmt::format(
          "attribute backend: expected one whose kernels are known (theano, {}), found {}; load the file "
          "in Keras with this backend and save it with another",
          fmt::join(kCorrelating, ", "), printable(backend)));
    }
    if (rotated_ ? tensorflow_name : theano_name) {
      fail(fmt::format("its name says {} and its attribute backend {}; rename it if the attribute is right",
                       theano_name ? "th_kernels" : "tf_kernels", printable(backend)));
    }
  }

  /// A dataset that the attributes name.
  struct Listed {
    std::string group;
    std::string group_path;
    std::string name;
    int position = 0;  ///< In its group.
    std::optional<int> layer;
  };

  void read_named(hid_t root, const std::string& root_path) {
    at_("the attribute layer_names");
    std::vector<Listed> all;
    for (const std::string& group_name : names(root, "layer_names", root_path)) {
      if (contents_.size() < kMaxNames) contents_.push_back(printable(group_name));
      at_(printable(group_name));
      refuse_foreign(group_name);
      const Handle group = open_path(root, group_name, root_path);
      const std::string group_path = fmt::format("{}/{}", root_path, group_name);
      if (!has_names(group.get(), "weight_names")) {
        if (network_.find(group_name)) {
          fail(fmt::format("group {}: expected Keras' attribute weight_names, found none",
                           printable(group_path)));
        }
        continue;
      }
      int position = 0;
      const std::vector<std::string> listed = names(group.get(), "weight_names", group_path);
      // A layer without weights is told by its name alone.
      if (listed.empty())
        all.push_back({.group = group_name, .group_path = group_path, .name = "", .layer = {}});
      for (const std::string& name : listed) {
        for (std::string_view rest = name; !rest.empty();) {
          const std::size_t slash = std::min(rest.find('/'), rest.size());
          refuse_foreign(rest.substr(0, slash));
          rest.remove_prefix(std::min(slash + 1, rest.size()));
        }
        all.push_back({.group = group_name,
                       .group_path = group_path,
                       .name = name,
                       .position = position++,
                       .layer = layer_of(group_name, name)});
        if (all.size() > kMaxDatasets) fail(fmt::format("expected at most {} datasets", kMaxDatasets));
      }
    }
    if (!described_) refuse_others(others_of(root, root_path, all), last_layer(all), false);
    for (const Listed& listed : all) {
      if (!listed.layer) continue;
      const Handle group = open_path(root, listed.group, root_path);
      const Handle dataset = open_path(group.get(), listed.name, listed.group_path);
      const std::string path = fmt::format("{}/{}", listed.group_path, listed.name);
      const auto kernel = is_kernel(listed.name, network_.convolutions[*listed.layer].name, listed.position);
      if (!kernel) {
        fail(fmt::format(
            "layer {}: expected a kernel and a bias, found also {}, which a Conv2D does not have (as a "
            "pruned, quantised, normalised or adapted layer does); save the plain layer",
            network_.convolutions[*listed.layer].name, printable(path)));
      }
      read_tensor(*listed.layer, dataset.get(), path, *kernel);
    }
  }

  static int last_layer(const std::vector<Listed>& all) {
    int last = -1;
    for (const Listed& listed : all) last = std::max(last, listed.layer.value_or(-1));
    return last;
  }

  /// Keras lists layers in the order in which an image passes through them, but in a model that is a layer of
  /// another one those whose weights are not trained come last.
  std::vector<Other> others_of(hid_t root, const std::string& root_path,
                               const std::vector<Listed>& all) const {
    const auto held = [](const Listed& listed) { return listed.layer.has_value(); };
    const auto first = std::ranges::find_if(all, held);
    const auto last = std::ranges::find_if(all.rbegin(), all.rend(), held).base();
    std::set<std::string> models;
    for (const Listed& listed : all)
      if (listed.layer) models.insert(listed.group);
    std::vector<Other> others;
    std::map<std::string, std::size_t> known;  // By the layer's path.
    for (auto listed = all.begin(); listed != all.end(); ++listed) {
      const bool nested = models.contains(listed->group);
      if (listed->layer || (listed >= last && !nested)) continue;
      const std::string path = listed->group_path + (listed->name.empty() ? "" : "/" + listed->name);
      if (nested) refuse_wrapper(listed->group, path);
      const std::string layer = listed->name.substr(0, listed->name.rfind('/') + 1);
      const auto [entry, is_new] = known.try_emplace(listed->group_path + "/" + layer, others.size());
      if (is_new) {
        Other other{.path = path, .name = listed->group, .parent = listed->group_path};
        if (nested && !layer.empty()) {
          other.name = layer.substr(0, layer.size() - 1);
          other.name.erase(0, other.name.rfind('/') + 1);
        }
        other.effect = is_normalisation(listed->name) ? Effect::normalisation : effect_of(other.name);
        other.may_follow = listed >= last && listed->name.find("moving_") == std::string::npos;
        if (!nested || other.effect == Effect::none)
          other.place = listed < first ? Place::before : listed < last ? Place::among : Place::unknown;
        others.push_back(std::move(other));
      }
      if (listed->name.empty()) continue;
      const Handle dataset = open_path(root, listed->group + "/" + listed->name, root_path);
      others[entry->second].add_weight(shape_of(dataset.get()));
    }
    return others;
  }

  /// A layer around a convolution has the convolution's name in its own.
  void refuse_wrapper(const std::string& group, const std::string& path) const {
    if (network_.find(group) ||
        std::ranges::none_of(network_.convolutions, [&](const Convolution& convolution) {
          return group.find(convolution.name) != std::string::npos;
        }))
      return;
    fail(fmt::format(
        "holds {} in a layer around the convolutions of {}, which has no such layer: these are another "
        "network's weights",
        printable(path), network_.name));
  }

  /// What stands between this network's convolutions makes another network of them; what stands before them
  /// changes their images. `last`: the last convolution that the file holds; `counted`: convolutions have no
  /// names.
  void refuse_others(const std::vector<Other>& others, int last, bool counted) {
    for (const Other& other : others) {
      if (other.effect == Effect::preprocessing || (other.place == Place::before && other.alters())) {
        is_uncertain_ = is_uncertain_ || other.place != Place::before;
        if (std::ranges::find(before_, printable(other.name)) == before_.end() && before_.size() < kMaxNames)
          before_.push_back(printable(other.name));
      }
      if (other.place == Place::among && other.alters()) {
        fail(fmt::format(
            "holds {} among the convolutions of {}, which has no such layer: these are another network's "
            "weights. If it is another branch's, save the convolutions by themselves",
            printable(other.path), network_.name));
      }
      if (other.place == Place::unknown && !is_explained(other, others, last, counted)) {
        fail(
            fmt::format("holds {} beside the convolutions of {}; it may stand between them, which would make "
                        "them another network's weights, and weights alone do not tell. {}",
                        printable(other.path), network_.name, kWholeModel));
      }
    }
  }

  /// Whether a layer in a place that the file does not tell has one elsewhere than among the convolutions:
  /// behind another layer of its model that gives as many channels, each behind one of its own.
  bool is_explained(const Other& other, const std::vector<Other>& others, int last, bool counted) const {
    const auto count = [&](const auto& is) {
      return std::ranges::count_if(
          others, [&](const Other& some) { return some.parent == other.parent && is(some); });
    };
    const std::span convolutions(network_.convolutions);
    switch (other.effect) {
      case Effect::preprocessing:
        return count([&](const Other& some) { return class_of(some.name) == class_of(other.name); }) == 1;
      case Effect::convolution:
        return !counted;
      case Effect::pooling:
        return count([&](const Other& some) { return class_of(some.name) == "max_pooling2d"; }) >=
               std::ranges::count_if(convolutions.first(static_cast<std::size_t>(std::max(last, 0))),
                                     &Convolution::pool_after);
      case Effect::normalisation:
      case Effect::activation:
        break;
      default:
        return true;
    }
    const auto is_of_network = [&](const Convolution& convolution) {
      return static_cast<std::uint64_t>(convolution.out_channels) == other.channels;
    };
    if (other.channels > 0 && std::ranges::none_of(convolutions, is_of_network)) return true;
    const auto alike = count(
        [&](const Other& some) { return some.effect == other.effect && some.channels == other.channels; });
    auto places = count([&](const Other& some) {
      return some.has_outputs() && (other.channels == 0 || some.channels == other.channels);
    });
    if (last >= 0 && is_of_network(convolutions[static_cast<std::size_t>(last)]) &&
        (other.may_follow || count([](const Other& some) { return some.name.starts_with("global_"); }) > 0))
      ++places;
    return alike <= places;
  }

  static bool is_normalisation(std::string_view name) {
    name.remove_prefix(name.rfind('/') + 1);
    return name.starts_with("gamma") || name.starts_with("beta") || name.starts_with("moving_");
  }

  /// The extent of a dataset; empty of anything else.
  static std::vector<std::uint64_t> shape_of(hid_t dataset) {
    if (H5Iget_type(dataset) != H5I_DATASET) return {};
    const Handle space(H5Dget_space(dataset), H5Sclose);
    const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : 0;
    if (rank <= 0 || rank > H5S_MAX_RANK) return {};
    std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
    if (H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr) < 0) return {};
    return {extent.begin(), extent.end()};
  }

  /// Keras names the convolutions of all VGGs alike, so one more in a block tells that it is another one's.
  /// What the description says is known already.
  void refuse_foreign(std::string_view name) const {
    const auto is_number = [](std::string_view text) {
      return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
    };
    constexpr std::string_view kBlock = "block";
    constexpr std::string_view kConvolution = "_conv";
    const std::size_t at = name.rfind(kConvolution);
    if (described_ || !name.starts_with(kBlock) || at == std::string_view::npos || network_.find(name))
      return;
    const std::string_view block = name.substr(0, at + kConvolution.size());
    if (!is_number(name.substr(kBlock.size(), at - kBlock.size())) || !is_number(name.substr(block.size())))
      return;
    if (std::ranges::none_of(network_.convolutions, [&](const Convolution& convolution) {
          return convolution.name.starts_with(block);
        }))
      return;
    fail(fmt::format("holds {}, which {} does not have: these are another network's weights", printable(name),
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

  /// By the name's last part, such as `kernel:0`, `block1_conv1_W_1:0` and `param_0`. Nothing: neither kernel
  /// nor bias.
  static std::optional<bool> is_kernel(std::string_view name, std::string_view layer, int position) {
    std::string_view last = name.substr(name.rfind('/') + 1);
    last = last.substr(0, last.find_last_not_of("0123456789:_") + 1);
    if (last.starts_with(layer) && last.substr(layer.size()).starts_with('_'))
      last.remove_prefix(layer.size() + 1);
    if (last == "kernel" || last == "W") return true;
    if (last == "bias" || last == "b") return false;
    if (last == "param" && position < 2) return position == 0;
    return std::nullopt;
  }

  /// A group `vars` of a Keras 3 file.
  struct Vars {
    std::string path;
    std::string folder;      ///< Last part of the path above.
    std::string layer_name;  ///< The attribute `name`, or nothing.
    bool empty = false;      ///< A layer without weights.

    /// The path of the model that contains the layer.
    std::string parent() const {
      return path.substr(0, path.size() - std::string_view("/vars").size() - folder.size());
    }
    const std::string& name() const { return layer_name.empty() ? folder : layer_name; }
  };

  void collect_vars(hid_t group, const std::string& path, const std::string& name, int depth,
                    std::vector<Vars>& found) {
    H5G_info_t info{};
    if (H5Gget_info(group, &info) < 0) damaged(fmt::format("group {}", printable(path + "/")));
    if (++groups_seen_ > kMaxGroups || depth > kMaxDepth || info.nlinks > kMaxNames) {
      fail(
          fmt::format("group {}: expected at most {} groups, {} deep, of {} objects each, found more; save "
                      "the network by itself",
                      printable(path + "/"), kMaxGroups, kMaxDepth, kMaxNames));
    }
    for (hsize_t i = 0; i < info.nlinks; ++i) {
      std::array<char, kMaxNameLength> buffer{};
      if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, buffer.data(), buffer.size(),
                             H5P_DEFAULT) < 0) {
        damaged(fmt::format("group {}", printable(path + "/")));
      }
      const std::string child_name(buffer.data(), strnlen(buffer.data(), buffer.size()));
      const std::string child_path = path + "/" + child_name;
      at_(printable(child_path));
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
      if (H5Gget_info(child.get(), &vars_info) < 0) damaged(printable(child_path));
      vars.empty = vars_info.nlinks == 0;
      found.push_back(std::move(vars));
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
    if (std::ranges::all_of(found, &Vars::empty)) {
      fail(
          "HDF5, but not Keras weights: expected the attribute layer_names or a group `vars` for each layer, "
          "found neither");
    }
    std::vector<std::pair<int, const Vars*>> matches;
    for (const Vars& vars : found) {
      if (vars.empty) continue;
      refuse_foreign(vars.layer_name);
      refuse_foreign(vars.folder);
      auto layer = network_.find(vars.layer_name);
      if (!layer) layer = network_.find(vars.folder);
      if (layer) matches.emplace_back(*layer, &vars);
      contents_.push_back(printable(vars.name()));
    }
    // Counted folders tell the order alone; where names are to be had, a counted folder is something else's.
    const bool counted = matches.empty();
    if (counted) matches = counted_convolutions(found);
    if (!described_) refuse_others(others_of(root, found, matches), last_layer(matches), counted);
    for (const auto& [layer, vars] : matches) {
      at_(printable(vars->path));
      if (!convolution_count(vars->folder) && vars->folder != network_.convolutions[layer].name) {
        fail(fmt::format("layer {}: expected a Conv2D, found {}: these are another network's weights",
                         network_.convolutions[layer].name, printable(vars->path)));
      }
      const Handle group = open_path(root, vars->path, "");
      H5G_info_t info{};
      if (H5Gget_info(group.get(), &info) < 0) damaged(printable(vars->path));
      int held = 0;
      for (const char* name : {"0", "1"}) {
        if (!has_link(group.get(), name)) continue;
        ++held;
        const Handle dataset = open_path(group.get(), name, vars->path);
        read_tensor(layer, dataset.get(), fmt::format("{}/{}", vars->path, name), *name == '0');
      }
      if (info.nlinks > static_cast<hsize_t>(held)) {
        fail(fmt::format(
            "layer {}: expected a kernel 0 and a bias 1, found more in {}, which a Conv2D does not have "
            "(as a quantised or an adapted layer does); save the plain layer",
            network_.convolutions[layer].name, printable(vars->path)));
      }
    }
  }

  using Matches = std::vector<std::pair<int, const Vars*>>;

  static int last_layer(const Matches& matches) {
    int last = -1;
    for (const auto& [layer, vars] : matches) last = std::max(last, layer);
    return last;
  }

  /// Without names only all convolutions are taken for the network's, and only where no description knows
  /// better.
  Matches counted_convolutions(const std::vector<Vars>& found) const {
    Matches matches;
    for (const Vars& vars : found) {
      if (vars.empty) continue;
      const auto count = convolution_count(vars.folder);
      if (!count) continue;
      if (*count >= network_.layer_count()) {
        fail(
            fmt::format("{}: expected at most the {} convolutions of {}, found number {}. These are "
                        "another network's weights",
                        printable(vars.path), network_.layer_count(), network_.name, *count + 1));
      }
      matches.emplace_back(*count, &vars);
    }
    if (matches.empty()) return matches;
    if (configured_ && !described_) {
      fail(
          fmt::format("its convolutions have other names than {}'s, and the model's description does not "
                      "have its {}, one after the other: these are another network's weights",
                      network_.name, network_.layer_count()));
    }
    if (std::ssize(matches) < network_.layer_count()) {
      fail(fmt::format(
          "holds {}, such as {}, without a name of {}'s, such as {}; only all {}, in this order, would tell "
          "that they are this network's. Give the layers these names, and save them again",
          counted(std::ssize(matches), "convolution"), printable(matches.front().second->name()),
          network_.name, network_.convolutions.front().name, network_.layer_count()));
    }
    return matches;
  }

  /// Keras 3 does not tell the order of layers of different classes.
  std::vector<Other> others_of(hid_t root, const std::vector<Vars>& found, const Matches& matches) const {
    std::set<std::string> models;
    std::set<const Vars*> held;
    for (const auto& [layer, vars] : matches) {
      models.insert(vars->parent());
      held.insert(vars);
    }
    std::vector<Other> others;
    for (const Vars& vars : found) {
      const Effect effect = effect_of(vars.folder);
      const bool elsewhere = !models.contains(vars.parent());
      if (held.contains(&vars) || (elsewhere && effect != Effect::preprocessing)) continue;
      Other other{.path = vars.path, .name = vars.folder, .parent = vars.parent(), .effect = effect};
      if (elsewhere) other.place = Place::elsewhere;
      const Handle group = open_path(root, vars.path, "");
      if (has_link(group.get(), "0")) {
        const Handle dataset = open_path(group.get(), "0", vars.path);
        other.add_weight(shape_of(dataset.get()));
      }
      others.push_back(std::move(other));
    }
    return others;
  }

  /// Sizes in bits, and where HDF5 finds the parts of a number.
  struct FloatLayout {
    std::size_t exponent = 0;
    std::size_t fraction = 0;
  };
  static FloatLayout float_layout(hid_t type) {
    FloatLayout layout;
    std::size_t ignored = 0;
    if (H5Tget_fields(type, &ignored, &ignored, &layout.exponent, &ignored, &layout.fraction) < 0) return {};
    return layout;
  }

  static std::string type_text(hid_t type) {
    const std::size_t bits = 8 * H5Tget_size(type);
    switch (H5Tget_class(type)) {
      case H5T_FLOAT: {
        const auto [exponent, fraction] = float_layout(type);
        if (bits == 16 && exponent == 8) return "bfloat16";
        if (bits == 8) return fmt::format("float8 (E{}M{})", exponent, fraction);
        if (bits == 128 && exponent == 15 && fraction == 64) return "long double (x87)";
        return fmt::format("float{}", bits);
      }
      case H5T_INTEGER:
        return fmt::format("{}int{}{}", H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits,
                           bits == 8    ? " (quantised?)"
                           : bits == 16 ? " (the bits of bfloat16?)"
                                        : "");
      case H5T_STRING:
        return "strings";
      case H5T_OPAQUE:
        return fmt::format("opaque values of {} bits{}", bits,
                           bits == 16  ? " (bfloat16?)"
                           : bits == 8 ? " (float8?)"
                                       : "");
      case H5T_COMPOUND:
        return H5Tget_nmembers(type) == 2 && H5Tget_member_index(type, "r") >= 0 &&
                       H5Tget_member_index(type, "i") >= 0
                   ? fmt::format("complex{}", bits)
                   : "compound values";
      case H5T_BITFIELD:
        return fmt::format("bits in {}", bits);
      case H5T_REFERENCE:
        return "references";
      case H5T_ENUM:
        return "an enumeration";
      case H5T_VLEN:
        return "lists of variable length";
      case H5T_ARRAY:
        return "arrays";
      default:
        return fmt::format("another type of {} bits", bits);
    }
  }

  /// HDF5 converts floats of any layout to float, rounding to nearest. Those of 8 bits have several meanings
  /// and need a scale that the file does not tell.
  static bool is_readable_float(hid_t type) {
    return H5Tget_class(type) == H5T_FLOAT && H5Tget_size(type) >= 2;
  }

  /// Keras 3 has bfloat16 as opaque values, and says so.
  bool is_keras_bfloat16(hid_t dataset, hid_t type, const std::string& path) const {
    return H5Tget_class(type) == H5T_OPAQUE && H5Tget_size(type) == 2 &&
           string(dataset, "dtype", path) == "bfloat16";
  }

  /// The filter of a dataset that this program's HDF5 lacks: "32000 (lzf)".
  static std::string missing_filter(hid_t creation) {
    const int count = H5Pget_nfilters(creation);
    for (int i = 0; i < count; ++i) {
      std::array<char, 64> name{};
      unsigned flags = 0;
      unsigned config = 0;
      std::size_t values = 0;
      const H5Z_filter_t filter = H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &values, nullptr,
                                                 name.size() - 1, name.data(), &config);
      if (filter < 0 || (H5Zfilter_avail(filter) > 0 && H5Zget_filter_info(filter, &config) >= 0 &&
                         (config & H5Z_FILTER_CONFIG_DECODE_ENABLED) != 0))
        continue;
      return fmt::format("{} ({})", filter, *name.data() == '\0' ? "without a name" : printable(name.data()));
    }
    return "";
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
    if (is_kernel) expected = kernel_shape(KernelOrder::hwio, convolution);
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0 || rank > H5S_MAX_RANK) damaged(where);
    std::vector<hsize_t> extent(rank);
    if (rank > 0 && H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr) < 0) damaged(where);
    const std::vector<std::uint64_t> shape(extent.begin(), extent.end());
    const bool bfloat16 = is_keras_bfloat16(dataset, type.get(), dataset_path);
    const bool oihw = is_kernel && shape != expected && shape == kernel_shape(KernelOrder::oihw, convolution);
    if (is_kernel && oihw && may_be_oihw_) expected = shape;
    if (shape != expected || !(is_readable_float(type.get()) || bfloat16)) {
      std::string advice = "Save the weights as float32";
      if (const std::string order = is_kernel ? order_text(shape, convolution) : ""; shape != expected) {
        if (order.empty()) {
          advice = fmt::format("These are not {}'s weights", network_.name);
        } else if (oihw && convention_.empty()) {
          advice = fmt::format(
              "This is {}, and nothing tells whether the kernels are rotated, as Theano's are. Keras' own "
              "file of that order says so by its name (vgg16_weights_th_dim_ordering_th_kernels_notop.h5); "
              "weights/fetch.sh gets the same weights in TensorFlow's order",
              order);
        } else {
          advice = fmt::format(
              "This is {}, in which Keras does not keep kernels{}; transpose them to [3, 3, in, out], or get "
              "the network's with weights/fetch.sh",
              order, convention_.empty() ? "" : fmt::format(" ({})", convention_));
        }
      }
      fail(fmt::format("{}: expected float32 {}, found {} {}. {}", where, shape_text(expected),
                       type_text(type.get()), shape_text(shape), advice));
    }
    if (is_kernel) {
      const KernelOrder order = oihw ? KernelOrder::oihw : KernelOrder::hwio;
      if (order_.value_or(order) != order) {
        fail(fmt::format("{}: expected the order of dimensions of the kernels before it, found {}", where,
                         order_text(shape, convolution)));
      }
      order_ = order;
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
      H5D_space_status_t status{};
      hsize_t chunks = 0;
      if (H5Dget_space_status(dataset, &status) >= 0 && status == H5D_SPACE_STATUS_NOT_ALLOCATED)
        unwritten(where);
#if H5_VERSION_GE(1, 10, 5)
      hsize_t needed = 1;
      for (int i = 0; i < rank; ++i) needed *= (extent[i] + chunk[i] - 1) / chunk[i];
      if (H5Dget_num_chunks(dataset, space.get(), &chunks) >= 0 && chunks < needed) unwritten(where);
#endif
    } else if (layout == H5D_VIRTUAL) {
      fail(
          fmt::format("{}: expected values in this file, found a virtual dataset, whose values are in other "
                      "datasets; `h5repack` does not copy them: write them to a file of its own",
                      where));
    } else if ((layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) ||
               H5Pget_external_count(creation.get()) != 0) {
      fail(fmt::format("{}: expected values in this file, found them in another or in no known layout",
                       where));
    } else if (H5Dget_storage_size(dataset) == 0) {
      unwritten(where);
    }

    PartialLayer& part = parts_[layer];
    std::optional<std::vector<float>>& target = is_kernel ? part.kernel : part.bias;
    std::string& target_name = is_kernel ? part.kernel_name : part.bias_name;
    if (target)
      fail(fmt::format("{}: the layer has this {} already, in {}", where, is_kernel ? "kernel" : "bias",
                       target_name));
    std::vector<float> values(values_count);
    std::vector<std::uint16_t> bits(bfloat16 ? values_count : 0);
    if ((bfloat16 ? H5Dread(dataset, type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bits.data())
                  : H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data())) < 0) {
      const std::string says = hdf5_says();
      // A filter that is missing need not have been used.
      if (const std::string filter = missing_filter(creation.get()); !filter.empty()) {
        fail(fmt::format(
            "{}: its values are packed by the HDF5 filter {}, which this program does not have. Write them "
            "without filters: `h5repack -f NONE IN OUT`, for which HDF5 needs that filter's plug-in, or "
            "copy them with a program that has it (Python's h5py has lzf)",
            where, filter));
      }
      damaged(where, says);
    }
    if (bfloat16) std::ranges::transform(bits, values.begin(), from_bfloat);
    require_finite(path_, convolution.name, fmt::format("dataset {}", printable(dataset_path)), expected,
                   values);
    target = is_kernel ? to_hwio(std::move(values), *order_, convolution, rotated_) : std::move(values);
    target_name = printable(dataset_path);
  }

  /// HDF5 would read zeros.
  [[noreturn]] void unwritten(const std::string& where) const {
    fail(fmt::format(
        "{}: expected values, found none or only some of them: the program that made the file did not "
        "write them; make it again",
        where));
  }

  const fs::path& path_;
  const Network& network_;
  const At& at_;
  std::vector<PartialLayer> parts_;
  std::vector<std::string> contents_;
  int groups_seen_ = 0;
  FileContents result_;
  /// What always says where a layer stands.
  static constexpr std::string_view kWholeModel =
      "Save the whole model, as .h5, or as .keras, which is to be unpacked so that its config.json lies "
      "beside its model.weights.h5; or save the convolutions by themselves";

  std::vector<std::string> before_;   ///< What images pass through before the first convolution.
  bool is_uncertain_ = false;         ///< Or do not.
  bool configured_ = false;           ///< There is a model's configuration.
  bool described_ = false;            ///< It tells all that matters.
  bool rotated_ = false;              ///< All kernels are, in the file.
  bool may_be_oihw_ = false;          ///< The file tells enough for kernels of that order.
  std::string convention_;            ///< What tells so, for a reader.
  std::optional<KernelOrder> order_;  ///< The order of the kernels read so far.
};

}  // namespace

FileContents read_keras_hdf5_unguarded(const fs::path& file, const Network& network, const At& at) {
  const QuietErrors quiet;
  return KerasFile(file, network, at).read();
}

FileContents read_keras_hdf5(const fs::path& file, const Network& network, const ChildLimits& limits,
                             const std::function<void()>& meanwhile) {
  const auto reader = [&](const At& at) {
    // No filter plug-ins: they are other code, picked by a number in the file.
    H5PLset_loading_state(0);
    return read_keras_hdf5_unguarded(file, network, at);
  };
  return read_in_child(file, network, reader, limits, meanwhile);
}

}  // namespace filterscope::weights_formats
