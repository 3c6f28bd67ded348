#include "host/base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../output/files.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(AtomicFile, HasItsNameOnlyAfterCommit) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a.txt");
  file.append(bytes("hello"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a.txt"));
  file.commit();
  EXPECT_EQ(read_text(folder / "a.txt"), "hello");
  EXPECT_THAT(files_below(folder.path()), ElementsAre("a.txt"));
}

TEST(AtomicFile, IsRemovedWithoutCommit) {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", "before");
  {
    AtomicFile file(folder / "a.txt");
    file.append(bytes("hello"));
  }
  EXPECT_EQ(read_text(folder / "a.txt"), "before");
  EXPECT_THAT(files_below(folder.path()), ElementsAre("a.txt"));
}

TEST(AtomicFile, ReplacesAFileOfItsName) {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", "something longer than what comes");
  write_file(folder / "a.txt", std::string_view("new"));
  EXPECT_EQ(read_text(folder / "a.txt"), "new");
}

TEST(AtomicFile, HoldsAllAppendedBytes) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a.txt");
  for (const char* part : {"abc", "", "defgh"}) file.append(bytes(part));
  file.commit();
  EXPECT_EQ(read_text(folder / "a.txt"), "abcdefgh");
}

TEST(AtomicFile, LeftoversOfKilledProcessesCanBeRemoved) {
  const TemporaryFolder folder;
  write_text(folder / ".a.txt.0123cdef.tmp", "");
  const std::vector<std::string> others{".a.txt.0123cde.tmp", ".a.txt.0123cdeg.tmp", "..0123cdef.tmp",
                                        "a.txt.0123cdef.tmp", ".a.txt.0123cdef",     ".hidden.tmp"};
  for (const std::string& name : others) write_text(folder / name, "");
  {
    AtomicFile file(folder / "b.txt");
    EXPECT_THAT(files_below(folder.path()), testing::SizeIs(others.size() + 2));
    remove_leftovers(folder.path());
  }
  EXPECT_THAT(files_below(folder.path()), testing::UnorderedElementsAreArray(others));
  remove_leftovers(folder / "none");
}

TEST(AtomicFile, HasOrdinaryPermissions) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", std::string_view("x"));
  write_text(folder / "b.txt", "x");
  EXPECT_EQ(std::filesystem::status(folder / "a.txt").permissions(),
            std::filesystem::status(folder / "b.txt").permissions());
}

TEST(AtomicFile, NamesAMissingFolder) {
  const TemporaryFolder folder;
  const auto path = folder / "no" / "a.txt";
  EXPECT_THAT(error_of(ErrorKind::output, [&] { AtomicFile file(path); }),
              AllOf(HasSubstr(path.string()), HasSubstr("No such file or directory"), HasSubstr("--out")));
}

TEST(AtomicFile, NamesAFolderInTheWay) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "a.txt" / "b");
  EXPECT_THAT(error_of(ErrorKind::output, [&] { write_file(folder / "a.txt", std::string_view("x")); }),
              AllOf(HasSubstr((folder / "a.txt").string()), HasSubstr("move it away")));
  EXPECT_THAT(files_below(folder.path()), IsEmpty());
}

TEST(AtomicFile, ReportsAFullDisk) {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", "before");
  {
    const FullDisk full(1000);
    const std::string content(5000, 'x');
    EXPECT_THAT(error_of(ErrorKind::output, [&] { write_file(folder / "a.txt", std::string_view(content)); }),
                AllOf(HasSubstr((folder / "a.txt").string()),
                      HasSubstr("raise the limit of file sizes (`ulimit -f`, now 1000 bytes)")));
  }
  EXPECT_EQ(read_text(folder / "a.txt"), "before");
  EXPECT_THAT(files_below(folder.path()), ElementsAre("a.txt"));
}

TEST(CreateFolder, CreatesParentsAndAcceptsAnExistingOne) {
  const TemporaryFolder folder;
  create_folder(folder / "a" / "b");
  create_folder(folder / "a" / "b");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a" / "b"));
}

TEST(CreateFolder, NamesAFileInTheWay) {
  const TemporaryFolder folder;
  write_text(folder / "a", "");
  for (const auto& path : {folder / "a", folder / "a" / "b", folder / "a" / "b" / "c"})
    EXPECT_THAT(error_of(ErrorKind::output, [&] { create_folder(path); }),
                AllOf(HasSubstr(path.string() + ": cannot create the folder: "),
                      HasSubstr(path == folder / "a" ? "folder: Not a directory"
                                                     : (folder / "a").string() + ": Not a directory"),
                      HasSubstr("--out")));
}

}  // namespace
}  // namespace filterscope
