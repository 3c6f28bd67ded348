#include "host/cuda/plan/plan_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace filterscope::cuda {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pointee;
using testing::SizeIs;

const PlanCache::Environment kHere{{"device", "NVIDIA H200"}, {"cuDNN", "9.19.0"}};
const std::string kProblem = "dgrad none bf16 64x96x96 64->64";
const PlanCache::Entry kEntry{"eng67_k2=0_k13=1", 0.25, 0.5};

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

class PlanCacheTest : public testing::Test {
 protected:
  PlanCache open(const PlanCache::Environment& environment = kHere) {
    return {folder_.path(), environment,
            [this](const std::string& warning) { warnings_.push_back(warning); }};
  }
  // Saves a file with kEntry.
  std::filesystem::path saved() {
    PlanCache cache = open();
    cache.store(kProblem, kEntry);
    cache.save();
    return cache.path();
  }
  std::vector<std::filesystem::path> files() const {
    return {std::filesystem::directory_iterator(folder_.path()), {}};
  }

  TemporaryFolder folder_;
  std::vector<std::string> warnings_;
};

TEST_F(PlanCacheTest, KeepsPlansFromRunToRun) {
  PlanCache first = open();
  EXPECT_EQ(first.find(kProblem), nullptr);
  first.store(kProblem, kEntry);
  EXPECT_THAT(first.find(kProblem), Pointee(kEntry));
  first.store("no kernel at all", {"", 0});
  first.save();

  const PlanCache second = open();
  EXPECT_THAT(second.find(kProblem), Pointee(kEntry));
  EXPECT_THAT(second.find("no kernel at all"), Pointee(PlanCache::Entry{"", 0, 0}));
  EXPECT_EQ(second.find("another"), nullptr);
  EXPECT_THAT(files(), ElementsAre(first.path()));
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(PlanCacheTest, TellsWhereItsFileIsAndWhatItHolds) {
  const std::string path = open().path().string();
  EXPECT_EQ(open().describe(), path + ": none yet");
  saved();
  EXPECT_EQ(open().describe(), path + ": 1 timing of this device with these libraries");
  write_text(path, "{");
  EXPECT_EQ(open().describe(), path + ": cannot be used, the next run replaces it");
  EXPECT_THAT(PlanCache({}, kHere).describe(), HasSubstr("not kept: neither $XDG_CACHE_HOME nor $HOME"));
}

TEST_F(PlanCacheTest, CreatesItsFolder) {
  const auto folder = folder_ / "not" / "there";
  PlanCache cache(folder, kHere);
  cache.store(kProblem, kEntry);
  cache.save();
  EXPECT_THAT(PlanCache(folder, kHere).find(kProblem), Pointee(kEntry));
}

TEST_F(PlanCacheTest, WritesNothingIfNothingIsNew) {
  PlanCache cache = open();
  cache.save();
  EXPECT_THAT(files(), IsEmpty());
  saved();
  open().save();
  std::filesystem::remove(cache.path());
  cache.save();
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(PlanCacheTest, KnowsNothingOfOtherEnvironments) {
  saved();
  for (const auto& [key, value] :
       PlanCache::Environment{{"device", "NVIDIA A100"}, {"cuDNN", "9.20.0"}, {"x", ""}}) {
    PlanCache::Environment other = kHere;
    other[key] = value;
    PlanCache cache = open(other);
    EXPECT_EQ(cache.find(kProblem), nullptr) << key;
    cache.store(kProblem, {"another", 1});
    cache.save();
  }
  EXPECT_THAT(files(), SizeIs(4));
  EXPECT_THAT(open().find(kProblem), Pointee(kEntry));
}

TEST_F(PlanCacheTest, DoesNotTrustAFilesName) {
  const auto path = saved();
  json document = json::parse(read_text(path));
  document["environment"]["cuDNN"] = "9.20.0";
  write_text(path, document.dump());
  EXPECT_EQ(open().find(kProblem), nullptr);
}

TEST_F(PlanCacheTest, IgnoresAnotherFormat) {
  const auto path = saved();
  for (const json& format : {json("filterscope CUDA plans 1"), json(1), json()}) {
    json document = json::parse(read_text(path));
    document["format"] = format;
    write_text(path, document.dump());
    EXPECT_EQ(open().find(kProblem), nullptr) << format;
    saved();
  }
}

TEST_F(PlanCacheTest, ReplacesAFileThatIsCutOffAnywhere) {
  const auto path = saved();
  const std::string whole = read_text(path);
  // The last character is a newline.
  for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
    write_text(path, whole.substr(0, length));
    PlanCache cache = open();
    ASSERT_EQ(cache.find(kProblem), nullptr) << length;
    cache.store(kProblem, kEntry);
    cache.save();
    ASSERT_EQ(read_text(path), whole) << length;
  }
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(PlanCacheTest, IgnoresUnexpectedJson) {
  const auto path = saved();
  const std::string whole = read_text(path);
  for (const char* text :
       {"null", "[]", "17", "\"plans\"", "{}", "[[[[[[", "\xff\xfe\x00", "{\"plans\": {}}"}) {
    write_text(path, text);
    EXPECT_EQ(open().find(kProblem), nullptr) << text;
  }
  json document = json::parse(whole);
  for (const json& plans : {json(), json::array({1, 2}), json("eng1"), json(3)}) {
    document["plans"] = plans;
    write_text(path, document.dump());
    EXPECT_EQ(open().find(kProblem), nullptr) << plans;
  }
}

TEST_F(PlanCacheTest, IgnoresDamagedEntriesAlone) {
  const auto path = saved();
  json document = json::parse(read_text(path));
  document["plans"]["a"] = nullptr;
  document["plans"]["b"] = {{"plan", "eng1"}, {"setup_seconds", 0}};
  document["plans"]["c"] = {{"plan", 1}, {"milliseconds", 1}, {"setup_seconds", 0}};
  document["plans"]["d"] = {{"plan", "eng1"}, {"milliseconds", "fast"}, {"setup_seconds", 0}};
  document["plans"]["e"] = {{"plan", "eng1"}, {"milliseconds", -1}, {"setup_seconds", 0}};
  document["plans"]["f"] = {{"plan", "eng1"}, {"milliseconds", 1}};
  write_text(path, document.dump());
  const PlanCache cache = open();
  for (const char* problem : {"a", "b", "c", "d", "e", "f"})
    EXPECT_EQ(cache.find(problem), nullptr) << problem;
  EXPECT_THAT(cache.find(kProblem), Pointee(kEntry));
}

// Valid JSON, but too large for a double.
TEST_F(PlanCacheTest, IgnoresAFileWithANumberThatIsTooLarge) {
  const auto path = saved();
  std::string text = read_text(path);
  const auto place = text.find("0.25");
  ASSERT_NE(place, std::string::npos);
  write_text(path, text.replace(place, 4, "1e999"));
  EXPECT_EQ(open().find(kProblem), nullptr);
}

TEST_F(PlanCacheTest, DoesNotWaitForAPipeOfItsName) {
  const auto path = open().path();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  PlanCache cache = open();
  EXPECT_EQ(cache.find(kProblem), nullptr);
  cache.store(kProblem, kEntry);
  cache.save();
  EXPECT_THAT(open().find(kProblem), Pointee(kEntry));
}

TEST_F(PlanCacheTest, AddsToWhatOthersSavedMeanwhile) {
  PlanCache first = open();
  PlanCache second = open();
  first.store("a", {"eng1", 1, 0});
  first.store("both", {"eng1", 1, 0});
  second.store("b", {"eng2", 2, 0});
  second.store("both", {"eng2", 2, 0});
  first.save();
  second.save();
  const PlanCache third = open();
  EXPECT_THAT(third.find("a"), Pointee(PlanCache::Entry{"eng1", 1, 0}));
  EXPECT_THAT(third.find("b"), Pointee(PlanCache::Entry{"eng2", 2, 0}));
  EXPECT_THAT(third.find("both"), Pointee(PlanCache::Entry{"eng2", 2, 0}));
}

TEST_F(PlanCacheTest, IsWholeDespiteConcurrentWriters) {
  const auto path = saved();
  const auto write = [&](int writer) {
    PlanCache cache(folder_.path(), kHere);
    for (int i = 0; i < 200; ++i) {
      cache.store("problem " + std::to_string(writer * 1000 + i), {"eng1", 1, 0});
      cache.save();
    }
  };
  {
    const std::jthread first(write, 1);
    const std::jthread second(write, 2);
    for (int i = 0; i < 200; ++i) {
      // No reader sees it half written.
      EXPECT_THAT(open().find(kProblem), Pointee(kEntry));
    }
  }
  EXPECT_THAT(files(), ElementsAre(path));
}

TEST_F(PlanCacheTest, WarnsOnceAboutAFolderItCannotWriteTo) {
  // A file is in the way: not even root can write below it.
  write_text(folder_ / "file", "");
  PlanCache cache(folder_ / "file" / "below", kHere,
                  [this](const std::string& warning) { warnings_.push_back(warning); });
  for (const char* problem : {"a", "b"}) {
    cache.store(problem, kEntry);
    cache.save();
    EXPECT_THAT(cache.find(problem), Pointee(kEntry));
  }
  EXPECT_THAT(warnings_, ElementsAre(testing::AllOf(HasSubstr("file/below"), HasSubstr("XDG_CACHE_HOME"))));
}

TEST_F(PlanCacheTest, WorksInAReadOnlyFolder) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const auto path = saved();
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0500), 0);
  PlanCache cache = open();
  cache.store("a", kEntry);
  cache.save();
  cache.store("b", kEntry);
  cache.save();
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0700), 0);
  EXPECT_THAT(warnings_, SizeIs(1));
  EXPECT_EQ(open().find("a"), nullptr);
}

TEST_F(PlanCacheTest, KeepsNothingWithoutAFolder) {
  PlanCache cache({}, kHere, [this](const std::string& warning) { warnings_.push_back(warning); });
  cache.store(kProblem, kEntry);
  cache.save();
  EXPECT_THAT(cache.find(kProblem), Pointee(kEntry));
  EXPECT_TRUE(cache.path().empty());
  EXPECT_THAT(warnings_, IsEmpty());
}

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(CacheFolder, IsWhereCachesAre) {
  const Variable home("HOME", "/home/somebody");
  {
    const Variable cache("XDG_CACHE_HOME", "/var/cache/somebody");
    EXPECT_EQ(cache_folder(), "/var/cache/somebody/filterscope");
  }
  for (const char* unusable : {static_cast<const char*>(nullptr), "", "relative/cache"}) {
    const Variable cache("XDG_CACHE_HOME", unusable);
    EXPECT_EQ(cache_folder(), "/home/somebody/.cache/filterscope");
    const Variable no_home("HOME", nullptr);
    EXPECT_EQ(cache_folder(), "");
  }
}

}  // namespace
}  // namespace filterscope::cuda
