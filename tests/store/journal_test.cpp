#include "host/store/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "../output/files.h"
#include "tests/support/temporary_folder.h"

namespace filterscope {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class JournalTest : public testing::Test {
 protected:
  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "journal.jsonl";
};

TEST_F(JournalTest, KeepsLinesAndIsRemovedWhenEmpty) {
  {
    Journal journal(path_);
    journal.append("one");
    EXPECT_EQ(read_text(path_), "one\n");
    journal.append("two");
  }
  {
    Journal journal(path_);
    journal.append("three");
    EXPECT_EQ(read_text(path_), "one\ntwo\nthree\n");
    journal.clear();
    EXPECT_EQ(read_text(path_), "");
    journal.append("four");
  }
  EXPECT_EQ(read_text(path_), "four\n");
  { Journal(path_).clear(); }
  EXPECT_THAT(files_below(folder_.path()), IsEmpty());
}

TEST_F(JournalTest, IsOpenOnce) {
  std::optional<Journal> first(path_);
  EXPECT_THAT(error_of(ErrorKind::output, [&] { Journal second(path_); }),
              AllOf(HasSubstr(folder_.path().string()), HasSubstr("another filterscope")));
  first->append("kept");
  first.reset();
  first.emplace(path_);
  first->remove();
  EXPECT_THAT(files_below(folder_.path()), IsEmpty());
  Journal second(path_);
  second.append("new");
  first.reset();  // Must not remove the other's file.
  EXPECT_EQ(read_text(path_), "new\n");
}

TEST_F(JournalTest, AFullDiskLeavesWholeLines) {
  Journal journal(path_);
  journal.append("one");
  {
    const FullDisk full(100);
    EXPECT_THAT(error_of(ErrorKind::output, [&] { journal.append(std::string(200, 'x')); }),
                AllOf(HasSubstr("journal.jsonl"), HasSubstr("`ulimit -f`")));
    EXPECT_EQ(read_text(path_), "one\n");
    journal.append("two");
  }
  journal.append("three");
  EXPECT_EQ(read_text(path_), "one\ntwo\nthree\n");
}

TEST_F(JournalTest, NamesWhatIsInTheWay) {
  std::filesystem::create_directory(path_);
  EXPECT_THAT(error_of(ErrorKind::output, [&] { Journal journal(path_); }),
              AllOf(HasSubstr("journal.jsonl"), HasSubstr("move it away")));
  EXPECT_THAT(error_of(ErrorKind::output, [&] { Journal journal(folder_ / "no" / "journal.jsonl"); }),
              HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace filterscope
