#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace filterscope::weights_formats {

/// Limits far above what Keras' networks have, and far below what would take noticeable time or memory.
inline constexpr hsize_t kMaxNames = 4096;
inline constexpr std::size_t kMaxNameLength = 4096;

/// An HDF5 identifier that is closed with its scope.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() : Handle(H5I_INVALID_HID, nullptr) {}
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

/// Keeps HDF5 from printing its error stack; its reason becomes part of an Error instead.
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

struct Dataset {
  hid_t id = H5I_INVALID_HID;
  Handle space;
  Handle type;
  Handle creation;
  std::vector<std::uint64_t> shape;
  bool is_bfloat16 = false;  ///< Keras 3 stores these as opaque values, and says so in an attribute.

  /// Whether HDF5 converts the values to float. Floats of 8 bits have several meanings, and need a scale that
  /// the file does not give.
  bool is_readable() const;
  /// The type of the values: "float16", "int8 (quantised?)".
  std::string type_text() const;
};

/// An HDF5 file, opened for reading. Sizes are checked before memory is allocated for them. All members throw
/// an input Error that names the file and the object, or std::bad_alloc where HDF5 ran out of memory. In
/// their messages an object is called `where`, or by its path. The path of the root group is empty.
class Hdf5File {
 public:
  explicit Hdf5File(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  hid_t root() const { return root_.get(); }

  /// Throws an Error that names the file.
  [[noreturn]] void fail(const std::string& what) const;
  /// Throws an Error that says that `where` cannot be read, why according to HDF5, and what to do.
  [[noreturn]] void fail_to_read(const std::string& where) const;

  /// The object at `names`, parts separated by slashes, below `group`. Only hard links are followed: an
  /// external or a soft link could lead anywhere, and Keras makes none.
  Handle open(hid_t group, std::string_view names, const std::string& group_path) const;
  hsize_t link_count(hid_t group, const std::string& where) const;
  std::string link_name(hid_t group, hsize_t index, const std::string& where) const;

  /// The strings of an attribute, of fixed or of variable length. Keras splits an attribute that is too long
  /// for HDF5 into name0, name1, ...; all of them are read.
  std::vector<std::string> names(hid_t object, const std::string& name, const std::string& object_path) const;
  /// An attribute of one string; empty if there is none.
  std::string string(hid_t object, const std::string& name, const std::string& object_path,
                     std::size_t max_length = kMaxNameLength) const;

  Dataset dataset(hid_t object, const std::string& path, const std::string& where) const;
  /// All values of a dataset that is_readable(), rounded to nearest. Values that were never written, which
  /// HDF5 would read as zeros, or are in another file or dataset are an Error.
  std::vector<float> read_floats(const Dataset& dataset, const std::string& where) const;

 private:
  [[noreturn]] void fail_to_read(const std::string& where, const std::string& reason) const;
  std::vector<std::string> strings(hid_t object, const std::string& name, const std::string& object_path,
                                   std::size_t max_length = kMaxNameLength) const;
  void require_values(const Dataset& dataset, const std::string& where) const;

  std::filesystem::path path_;
  QuietErrors quiet_;
  Handle file_;
  Handle root_;
};

bool has_attribute(hid_t object, const std::string& name);
/// Whether Hdf5File::names() would find such an attribute.
bool has_names(hid_t object, const std::string& name);
bool has_link(hid_t group, const std::string& name);
/// The shape of a dataset; empty for any other object.
std::vector<std::uint64_t> shape_of(hid_t object);

}  // namespace filterscope::weights_formats
