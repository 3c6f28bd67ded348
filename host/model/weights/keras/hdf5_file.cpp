#include "hdf5_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "../../../base/error.h"
#include "../../../base/text.h"
#include "../tensors.h"

namespace filterscope::weights_formats {

namespace {

namespace fs = std::filesystem;

/// The innermost description on HDF5's error stack, as " (HDF5: ...)"; std::bad_alloc if memory ran out.
std::string hdf5_reason() {
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

/// Sizes of a float's fields in bits.
struct FloatLayout {
  std::size_t exponent = 0;
  std::size_t fraction = 0;
};
FloatLayout float_layout(hid_t type) {
  FloatLayout layout;
  std::size_t ignored = 0;
  if (H5Tget_fields(type, &ignored, &ignored, &layout.exponent, &ignored, &layout.fraction) < 0) return {};
  return layout;
}

std::string text_of_type(hid_t type) {
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

/// The first filter of a dataset that this program's HDF5 lacks, as "32000 (lzf)"; empty if it has all.
std::string missing_filter(hid_t creation) {
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
    return fmt::format("{} ({})", filter, *name.data() == '\0' ? "unnamed" : printable(name.data()));
  }
  return "";
}

}  // namespace

bool has_attribute(hid_t object, const std::string& name) {
  return H5Aexists(object, name.c_str()) > 0;
}

bool has_names(hid_t object, const std::string& name) {
  return has_attribute(object, name) || has_attribute(object, name + "0");
}

bool has_link(hid_t group, const std::string& name) {
  return H5Lexists(group, name.c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::uint64_t> shape_of(hid_t object) {
  if (H5Iget_type(object) != H5I_DATASET) return {};
  const Handle space(H5Dget_space(object), H5Sclose);
  const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : 0;
  if (rank <= 0 || rank > H5S_MAX_RANK) return {};
  std::vector<hsize_t> extent(static_cast<std::size_t>(rank));
  if (H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr) < 0) return {};
  return {extent.begin(), extent.end()};
}

bool Dataset::is_readable() const {
  return is_bfloat16 || (H5Tget_class(type.get()) == H5T_FLOAT && H5Tget_size(type.get()) >= 2);
}

std::string Dataset::type_text() const {
  return text_of_type(type.get());
}

Hdf5File::Hdf5File(fs::path path) : path_(std::move(path)) {
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  // Weights are often on a read-only or network file system, which cannot lock.
  H5Pset_file_locking(access.get(), false, true);
#endif
  file_ = Handle(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file_) fail_to_read("the file");
  root_ = Handle(H5Gopen2(file_.get(), "/", H5P_DEFAULT), H5Gclose);
  if (!root_) fail_to_read("the root group");
}

void Hdf5File::fail(const std::string& what) const {
  throw Error(ErrorKind::input, fmt::format("{}: {}", path_.string(), what));
}

void Hdf5File::fail_to_read(const std::string& where) const {
  fail_to_read(where, hdf5_reason());
}

void Hdf5File::fail_to_read(const std::string& where, const std::string& reason) const {
  if (reason.find("h5clear") != std::string::npos) {
    fail(
        fmt::format("{} cannot be read{}: a program is writing it, or ended without closing it; if none is, "
                    "`h5clear -s FILE` marks it as closed",
                    where, reason));
  }
  if (reason.find("version") != std::string::npos) {
    fail(fmt::format(
        "{} cannot be read{}: it is written in a newer format than this program's HDF5 {}.{}.{} knows "
        "(`h5repack --high=1 IN OUT` of the newer HDF5 writes an older one), or damaged: get it again",
        where, reason, H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE));
  }
  fail(fmt::format("{} cannot be read{}; the file is damaged or incomplete: get it again", where, reason));
}

Handle Hdf5File::open(hid_t group, std::string_view names, const std::string& group_path) const {
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
    if (H5Lget_info(parent, name.c_str(), &info, H5P_DEFAULT) < 0) fail_to_read(printable(path));
    if (info.type != H5L_TYPE_HARD)
      fail(fmt::format("{}: expected an object, found a soft or external link", printable(path)));
    Handle child(H5Oopen(parent, name.c_str(), H5P_DEFAULT), H5Oclose);
    if (!child) fail_to_read(printable(path));  // Before HDF5 closes the parent and forgets the reason.
    object = std::move(child);
  }
  if (!object) fail(fmt::format("an empty name is listed in group {}/", printable(group_path)));
  return object;
}

hsize_t Hdf5File::link_count(hid_t group, const std::string& where) const {
  H5G_info_t info{};
  if (H5Gget_info(group, &info) < 0) fail_to_read(where);
  return info.nlinks;
}

std::string Hdf5File::link_name(hid_t group, hsize_t index, const std::string& where) const {
  std::array<char, kMaxNameLength> buffer{};
  if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, index, buffer.data(), buffer.size(),
                         H5P_DEFAULT) < 0)
    fail_to_read(where);
  return {buffer.data(), strnlen(buffer.data(), buffer.size())};
}

std::vector<std::string> Hdf5File::strings(hid_t object, const std::string& name,
                                           const std::string& object_path, std::size_t max_length) const {
  const std::string where =
      fmt::format("attribute {} of {}", name, object_path.empty() ? "/" : printable(object_path));
  const Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute) fail_to_read(where);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  if (!space || !type) fail_to_read(where);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 0) fail_to_read(where);
  // The empty list of a layer without weights, which Keras writes as a list of floats.
  if (count == 0) return {};
  if (static_cast<hsize_t>(count) > kMaxNames) {
    fail(fmt::format("{}: expected at most {} names, found {}", where, kMaxNames, count));
  }
  if (H5Tget_class(type.get()) != H5T_STRING)
    fail(fmt::format("{}: expected strings, found {}", where, text_of_type(type.get())));

  std::vector<std::string> result;
  if (H5Tis_variable_str(type.get()) > 0) {
    const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory.get(), H5T_VARIABLE);
    H5Tset_cset(memory.get(), H5Tget_cset(type.get()));
    std::vector<char*> pointers(count, nullptr);
    if (H5Aread(attribute.get(), memory.get(), pointers.data()) < 0) fail_to_read(where);
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
    if (H5Aread(attribute.get(), type.get(), bytes.data()) < 0) fail_to_read(where);
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

std::vector<std::string> Hdf5File::names(hid_t object, const std::string& name,
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

std::string Hdf5File::string(hid_t object, const std::string& name, const std::string& object_path,
                             std::size_t max_length) const {
  if (!has_attribute(object, name)) return "";
  const std::vector<std::string> found = strings(object, name, object_path, max_length);
  return found.empty() ? "" : found.front();
}

Dataset Hdf5File::dataset(hid_t object, const std::string& path, const std::string& where) const {
  if (H5Iget_type(object) != H5I_DATASET)
    fail(fmt::format("{}: expected a dataset, found a group or a type", where));
  Dataset dataset{.id = object,
                  .space = Handle(H5Dget_space(object), H5Sclose),
                  .type = Handle(H5Dget_type(object), H5Tclose),
                  .creation = Handle(H5Dget_create_plist(object), H5Pclose),
                  .shape = {}};
  if (!dataset.space || !dataset.type || !dataset.creation) fail_to_read(where);
  const int rank = H5Sget_simple_extent_ndims(dataset.space.get());
  if (rank < 0 || rank > H5S_MAX_RANK) fail_to_read(where);
  std::vector<hsize_t> extent(rank);
  if (rank > 0 && H5Sget_simple_extent_dims(dataset.space.get(), extent.data(), nullptr) < 0)
    fail_to_read(where);
  dataset.shape.assign(extent.begin(), extent.end());
  dataset.is_bfloat16 = H5Tget_class(dataset.type.get()) == H5T_OPAQUE &&
                        H5Tget_size(dataset.type.get()) == 2 && string(object, "dtype", path) == "bfloat16";
  return dataset;
}

/// Keras writes neither values into other files, nor chunks larger than the dataset, which HDF5 would
/// allocate.
void Hdf5File::require_values(const Dataset& dataset, const std::string& where) const {
  const auto fail_unwritten = [&] {
    fail(fmt::format(
        "{}: expected values, found none or only some of them: the program that made the file did not "
        "write them; make it again",
        where));
  };
  const H5D_layout_t layout = H5Pget_layout(dataset.creation.get());
  if (layout == H5D_CHUNKED) {
    const auto rank = static_cast<int>(dataset.shape.size());
    std::vector<hsize_t> chunk(rank);
    if (H5Pget_chunk(dataset.creation.get(), rank, chunk.data()) != rank) fail_to_read(where);
    for (int i = 0; i < rank; ++i) {
      if (chunk[i] == 0 || chunk[i] > dataset.shape[i]) fail_to_read(where);
    }
    H5D_space_status_t status{};
    if (H5Dget_space_status(dataset.id, &status) >= 0 && status == H5D_SPACE_STATUS_NOT_ALLOCATED)
      fail_unwritten();
#if H5_VERSION_GE(1, 10, 5)
    hsize_t chunks = 0;
    hsize_t needed = 1;
    for (int i = 0; i < rank; ++i) needed *= (dataset.shape[i] + chunk[i] - 1) / chunk[i];
    if (H5Dget_num_chunks(dataset.id, dataset.space.get(), &chunks) >= 0 && chunks < needed) fail_unwritten();
#endif
  } else if (layout == H5D_VIRTUAL) {
    fail(
        fmt::format("{}: expected values in this file, found a virtual dataset, whose values are in other "
                    "datasets; `h5repack` does not copy them: write them to a file of their own",
                    where));
  } else if ((layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) ||
             H5Pget_external_count(dataset.creation.get()) != 0) {
    fail(fmt::format("{}: expected values in this file, found them in another or in an unknown layout",
                     where));
  } else if (H5Dget_storage_size(dataset.id) == 0) {
    fail_unwritten();
  }
}

std::vector<float> Hdf5File::read_floats(const Dataset& dataset, const std::string& where) const {
  require_values(dataset, where);
  std::uint64_t count = 1;
  for (const std::uint64_t side : dataset.shape) count *= side;
  std::vector<float> values(count);
  std::vector<std::uint16_t> bits(dataset.is_bfloat16 ? count : 0);
  const herr_t status =
      dataset.is_bfloat16
          ? H5Dread(dataset.id, dataset.type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bits.data())
          : H5Dread(dataset.id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  if (status < 0) {
    const std::string reason = hdf5_reason();
    // Only after a failure: a filter that is missing may not have been used.
    if (const std::string filter = missing_filter(dataset.creation.get()); !filter.empty()) {
      fail(fmt::format(
          "{}: its values are packed by the HDF5 filter {}, which this program does not have. Write them "
          "without filters: `h5repack -f NONE IN OUT`, for which HDF5 needs that filter's plug-in, or "
          "copy them with a program that has it (Python's h5py has lzf)",
          where, filter));
    }
    fail_to_read(where, reason);
  }
  if (dataset.is_bfloat16) std::ranges::transform(bits, values.begin(), from_bfloat);
  return values;
}

}  // namespace filterscope::weights_formats
