#include "host/base/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "../output/files.h"
#include "host/output/png.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

/// During its lifetime, this process cannot open files.
class NoMoreFiles {
 public:
  NoMoreFiles() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none{.rlim_cur = 3, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoMoreFiles() { setrlimit(RLIMIT_NOFILE, &before_); }
  NoMoreFiles(const NoMoreFiles&) = delete;
  NoMoreFiles& operator=(const NoMoreFiles&) = delete;

 private:
  rlimit before_{};
};

TEST(InputFile, ReadsTheWholeFile) {
  const TemporaryFolder folder;
  write_text(folder / "a", std::string("a\0b\n", 4));
  write_text(folder / "empty", "");
  EXPECT_EQ(read_file(folder / "a"), std::string("a\0b\n", 4));
  EXPECT_EQ(read_file(folder / "empty"), "");
  EXPECT_EQ(read_file(folder / "none"), std::nullopt);
  EXPECT_EQ(read_result_file(folder / "a"), (std::vector<std::uint8_t>{'a', 0, 'b', '\n'}));
  EXPECT_THAT(read_result_file(folder / "none"), IsEmpty());
}

TEST(InputFile, UnreadableFilesAreErrors) {
  const TemporaryFolder folder;
  const auto expect_error = [&](const std::string& name, const std::string& reason) {
    EXPECT_THAT(error_of(ErrorKind::input, [&] { read_file(folder / name); }),
                AllOf(HasSubstr((folder / name).string()), HasSubstr(reason)));
    EXPECT_THAT(read_result_file(folder / name), IsEmpty());
  };
  std::filesystem::create_directory(folder / "folder");
  expect_error("folder", "expected a file, found something else");
  std::filesystem::create_symlink("loop", folder / "loop");
  expect_error("loop", "symbolic links");
  // A regular file that cannot be read, like one on a failing disk.
  std::filesystem::create_symlink("/proc/self/mem", folder / "bad");
  expect_error("bad", "Input/output error");
}

TEST(InputFile, LimitOfOpenFilesIsNotTakenForDamage) {
  const TemporaryFolder folder;
  write_png(folder / "a.png", std::vector<std::uint8_t>(3), {1, 1});
  const auto path = folder / "a.png";
  const auto expect_error = [&](const std::function<void()>& action) {
    const std::string error = error_of(ErrorKind::input, [&] {
      const NoMoreFiles none;
      action();
    });
    EXPECT_THAT(error, AllOf(HasSubstr(path.string()), HasSubstr("Too many open files"),
                             HasSubstr("(`ulimit -n`, now 3)")));
  };
  expect_error([&] { is_whole_png(path, {1, 1}); });
  expect_error([&] { read_png(path); });
  expect_error([&] { read_file(path); });
  EXPECT_TRUE(is_whole_png(path, {1, 1}));
}

}  // namespace
}  // namespace filterscope
