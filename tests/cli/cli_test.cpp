// The program run as a process and judged by exit code, output and files: help, errors, `list` and `info`.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <string>
#include <vector>

#include "host/devices/devices.h"
#include "tests/support/program.h"

namespace filterscope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

// --- Help ---

TEST_F(Cli, HelpNamesEveryOptionDefaultAndExitCode) {
  const Outcome help = run({"render", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_EQ(help.err, "");
  for (const char* option : {"--weights PATH|synthetic[:SEED]",
                             "--recipe NAME|FILE.json",
                             "--set KEY=VALUE",
                             "--iterations N",
                             "--step F",
                             "--size N",
                             "--seed N",
                             "--init FILE.npy",
                             "--device auto|cpu|cuda|cuda:N",
                             "--precision auto|fp32|tf32|bf16|fp16",
                             "--batch auto|N",
                             "--threads N",
                             "--out DIR",
                             "--raw",
                             "--animate [auto|N]",
                             "--shard I/N|auto",
                             "--force",
                             "--trace-every N",
                             "--reproducible",
                             "--quiet",
                             "--verbose",
                             "--help"}) {
    EXPECT_THAT(help.out, HasSubstr(std::string("  ") + option)) << option;
  }
  for (const char* fact :
       {"[SELECTOR...]", "block3_conv1:0-63,157", "random3", "'block3_*:0-7'", "recipe's, 500)",
        "recipe's, 0.1)", "recipe's, 96)", "(default: 0)", "(default: auto)", "(default: filterscope-out)",
        "all cores", "weights read channel 0 as blue", "Exit codes", "130 "}) {
    EXPECT_THAT(help.out, HasSubstr(fact)) << fact;
  }
  for (const std::string& line : lines_of(help.out)) EXPECT_LE(line.size(), 120u) << line;
  EXPECT_EQ(run({"render", "-h"}).out, help.out);
}

TEST_F(Cli, HelpOfTheProgramAndTheOtherCommands) {
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* fact : {"render", "merge", "recipes", "list", "info", "--version", "Exit codes", "130"}) {
    EXPECT_THAT(help.out, HasSubstr(fact));
  }
  EXPECT_EQ(run({"-h"}).out, help.out);
  EXPECT_THAT(run({"list", "--help"}).out, AllOf(HasSubstr("--weights"), HasSubstr("--size")));
  EXPECT_THAT(run({"info", "--help"}).out, HasSubstr("--weights"));
}

TEST_F(Cli, Version) {
  const Outcome outcome = run({"--version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, MatchesRegex("filterscope [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

// --- Usage errors ---

TEST_F(Cli, AbsentOrUnknownCommandIsAUsageError) {
  EXPECT_THAT(error_of({}, kUsage), AllOf(HasSubstr("found none"), HasSubstr("--help")));
  EXPECT_THAT(error_of({"rendr"}, kUsage), AllOf(HasSubstr("\"rendr\""), HasSubstr("did you mean render?")));
  EXPECT_THAT(error_of({"--quiet", "render"}, kUsage), HasSubstr("\"--quiet\""));
}

TEST_F(Cli, UnknownOptionsAndMissingValuesAreUsageErrors) {
  EXPECT_THAT(error_of({"render", "--sise", "64"}, kUsage),
              AllOf(HasSubstr("--sise"), HasSubstr("did you mean --size?"), HasSubstr("render --help")));
  EXPECT_THAT(error_of({"render", "-size", "64"}, kUsage), HasSubstr("did you mean --size?"));
  EXPECT_THAT(error_of({"render", "--iter", "3"}, kUsage), HasSubstr("did you mean --iterations?"));
  EXPECT_THAT(error_of({"render", "-x"}, kUsage), HasSubstr("unknown option -x"));
  EXPECT_THAT(error_of({"render", "--unheard-of=3"}, kUsage), HasSubstr("unknown option --unheard-of;"));
  EXPECT_THAT(error_of({"render", "all", "--size"}, kUsage),
              AllOf(HasSubstr("--size"), HasSubstr("end of the line")));
  for (const char* value : {"3", "false", "true", "0", "1", ""})
    EXPECT_THAT(error_of({"render", std::string("--raw=") + value}, kUsage),
                HasSubstr("--raw: expected no value, found \"" + std::string(value) + "\""));
  EXPECT_THAT(error_of({"render", "--help=false"}, kUsage), HasSubstr("--help: expected no value"));
  EXPECT_THAT(error_of({"list", "--seed", "3"}, kUsage), HasSubstr("unknown option --seed"));
  EXPECT_THAT(error_of({"list", "block1_conv1"}, kUsage), HasSubstr("\"block1_conv1\""));
  EXPECT_THAT(error_of({"info", "now"}, kUsage), HasSubstr("\"now\""));
  EXPECT_THAT(error_of({"render", "--quiet", "--verbose"}, kUsage),
              AllOf(HasSubstr("--quiet"), HasSubstr("--verbose")));
}

TEST_F(Cli, NumbersOutOfRangeNameFlagExpectedAndFound) {
  const struct {
    const char* flag;
    const char* expected;
    std::vector<const char*> wrong;
  } cases[] = {
      {"--size", "from 32 to", {"31", "0", "-96", "96.5", "", "x", "99999999999999999999"}},
      {"--iterations", "from 1 to", {"0", "-1", "1e3", "2147483648"}},
      {"--step", "finite number above 0", {"0", "-0.1", "nan", "inf", "1e99", "1e-99", "", "0.1x", "--raw"}},
      {"--seed", "from 0 to 18446744073709551615", {"-1", "18446744073709551616", "0x10", "1.0"}},
      {"--trace-every", "from 1 to", {"0", "-5", "all"}},
      {"--batch", "auto or a whole number from 1", {"0", "-1", "many"}},
      {"--threads", "from 1 to", {"0", "-1", "auto"}},
      {"--animate", "auto or a whole number from 1", {"0", "2.5", "2147483648"}},
  };
  for (const auto& [flag, expected, wrong] : cases) {
    for (const char* value : wrong) {
      EXPECT_THAT(
          error_of({"render", flag, value}, kUsage),
          AllOf(HasSubstr(flag), HasSubstr(expected), HasSubstr("found \"" + std::string(value) + "\"")));
    }
  }
  EXPECT_THAT(error_of({"list", "--size", "31"}, kUsage), HasSubstr("from 32 to"));
}

TEST_F(Cli, UnknownOptionValuesAreUsageErrors) {
  for (const char* device : {"gpu", "cuda:", "cuda:x", "cuda0", "cuda:-1", "CPU", ""}) {
    EXPECT_THAT(error_of({"render", "--device", device}, kUsage),
                AllOf(HasSubstr("--device"), HasSubstr("cuda:N")));
  }
  EXPECT_THAT(error_of({"render", "--precision", "fp8"}, kUsage),
              AllOf(HasSubstr("--precision"), HasSubstr("fp8")));
  EXPECT_THAT(error_of({"render", "--recipe", "dream"}, kUsage),
              AllOf(HasSubstr("recipe dream: no such recipe"), HasSubstr("seed"), HasSubstr("lucid")));
  EXPECT_THAT(error_of({"render", "--out", "--quiet"}, kUsage),
              AllOf(HasSubstr("--out"), HasSubstr("\"--quiet\"")));
  EXPECT_THAT(error_of({"render", "--out", ""}, kUsage), HasSubstr("--out"));
  EXPECT_THAT(error_of({"render", "--weights", "synthetic:x"}, kUsage), HasSubstr("synthetic:x"));
  EXPECT_THAT(error_of({"render", "--weights", ""}, kUsage), HasSubstr("--weights"));
}

TEST_F(Cli, MalformedSelectorsAreUsageErrors) {
  EXPECT_THAT(error_of({"render", "blok3_conv1:0"}, kUsage),
              AllOf(HasSubstr("\"blok3_conv1:0\""), HasSubstr("did you mean \"block3_conv1\"?")));
  EXPECT_THAT(error_of({"render", "block1_conv1:64"}, kUsage),
              AllOf(HasSubstr("\"block1_conv1:64\""), HasSubstr("0..63")));
  EXPECT_THAT(error_of({"render", "block1_conv1:3-1"}, kUsage), HasSubstr("backwards"));
}

// --- Weights and other inputs ---

TEST_F(Cli, MissingWeightsAreAnInputError) {
  EXPECT_THAT(error_of({"render", "--weights", "nowhere.h5"}, kInput), HasSubstr("nowhere.h5"));
  EXPECT_THAT(error_of({"list", "--weights", "nowhere.h5"}, kInput), HasSubstr("nowhere.h5"));
  EXPECT_THAT(error_of({"render"}, kInput),
              AllOf(HasSubstr("weights/fetch.sh"), HasSubstr("synthetic"), HasSubstr(".keras/models")));
}

TEST_F(Cli, DamagedWeightsAreAnInputError) {
  std::ofstream(folder_ / "damaged.h5") << "\x89HDF\r\n\x1a\n and then nothing";
  EXPECT_THAT(error_of({"render", "--weights", "damaged.h5"}, kInput), HasSubstr("damaged.h5"));
  std::ofstream(folder_ / "text.safetensors") << "no weights";
  EXPECT_THAT(error_of({"list", "--weights", "text.safetensors"}, kInput), HasSubstr("text.safetensors"));
}

TEST_F(Cli, LayersThatTheWeightsLackAreRefusedByName) {
  write_first_layer("first.safetensors");
  const std::vector<std::string> weights{"--weights", "first.safetensors"};
  EXPECT_THAT(error_of({"render", weights[0], weights[1], "block1_conv1:0", "block2_conv1:0"}, kInput),
              AllOf(HasSubstr("first.safetensors"), HasSubstr("does not hold block1_conv2, block2_conv1,"),
                    HasSubstr("the filters of block2_conv1 need"),
                    HasSubstr("`filterscope render block1_conv1` works")));
  EXPECT_THAT(error_of({"render", weights[0], weights[1]}, kInput),
              AllOf(HasSubstr("block5_conv3"), HasSubstr("`filterscope render block1_conv1` works")));
  EXPECT_FALSE(exists("filterscope-out"));

  const Outcome list = run({"list", weights[0], weights[1]});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, AllOf(HasSubstr("holds 1 of 13 layers"), HasSubstr("can render: block1_conv1\n")));
}

TEST_F(Cli, StartImagesThatDoNotFitAreAnInputError) {
  const auto error = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"render", "--weights", "synthetic", "block1_conv1:0-2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return error_of(arguments, kInput);
  };
  EXPECT_THAT(error({"--init", "nowhere.npy"}), HasSubstr("nowhere.npy"));
  write_npy("nan.npy", {32, 32, 3}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(error({"--init", "nan.npy"}), HasSubstr("nan.npy"));
  write_npy("grey.npy", {32, 32, 1}, 0.f);
  EXPECT_THAT(error({"--init", "grey.npy"}), HasSubstr("grey.npy"));
  write_npy("small.npy", {32, 31, 3}, 0.f);
  EXPECT_THAT(error({"--init", "small.npy"}),
              AllOf(HasSubstr("from 32"), HasSubstr("31 x 32 (width x height)")));
  write_npy("two.npy", {2, 32, 32, 3}, 0.f);
  EXPECT_THAT(error({"--init", "two.npy"}), AllOf(HasSubstr("3 selected filters"), HasSubstr("found 2")));
  write_npy("one.npy", {32, 32, 3}, 0.f);
  EXPECT_THAT(error({"--init", "one.npy", "--size", "33"}),
              AllOf(HasSubstr("33 x 33"), HasSubstr("32 x 32")));
}

// --- Device and output ---

TEST_F(Cli, CudaWithoutAGpuIsADeviceError) {
  for (const DeviceInfo& device : list_devices()) {
    if (device.usable && device.id.starts_with("cuda")) GTEST_SKIP() << "this machine has " << device.name;
  }
  EXPECT_THAT(error_of({"render", "--weights", "synthetic", "--device", "cuda"}, kDevice),
              HasSubstr("--device cuda"));
  EXPECT_THAT(error_of({"render", "--weights", "synthetic", "--device", "cuda:7"}, kDevice),
              HasSubstr("cuda:7"));
  EXPECT_FALSE(exists("filterscope-out"));
}

TEST_F(Cli, ProfileNeedsACudaDevice) {
  EXPECT_THAT(error_of({"render", "--weights", "synthetic", "--device", "cpu", "--profile", "1:2"}, kUsage),
              AllOf(HasSubstr("--profile"), HasSubstr("CUDA"), HasSubstr("--device")));
  EXPECT_FALSE(exists("filterscope-out"));
}

TEST_F(Cli, WeightsAreAFile) {
  EXPECT_THAT(error_of({"render", "--weights", "/dev/zero", "block1_conv1:0"}, kInput),
              AllOf(HasSubstr("--weights /dev/zero"), HasSubstr("found a device or a pipe")));
}

TEST_F(Cli, ForeignFilesAreNotReplaced) {
  for (const char* name : {"index.html", "traces.csv", "poster.png"}) {
    SCOPED_TRACE(name);
    fs::remove_all(folder_ / "site");
    fs::create_directory(folder_ / "site");
    std::ofstream(folder_ / "site" / name) << "mine";
    EXPECT_THAT(error_of({"render", "--weights", "synthetic", "block1_conv1:0", "--out", "site"}, kUsage),
                AllOf(HasSubstr("--out site"), HasSubstr(name), HasSubstr("--force")));
    EXPECT_EQ(read_text(folder_ / "site" / name), "mine");
    EXPECT_FALSE(exists("site/manifest.json"));
  }
  EXPECT_EQ(render({"block1_conv1:0", "--out", "site", "--force"}).exit_code, 0);
  EXPECT_EQ(render({"block1_conv1:1", "--out", "site"}).exit_code, 0);
}

TEST_F(Cli, FolderThatCannotBeWrittenIsAnOutputError) {
  std::ofstream(folder_ / "file") << "in the way";
  EXPECT_THAT(
      error_of({"render", "--weights", "synthetic", "--size", "32", "--out", "file/out", "block1_conv1:0"},
               kOutput),
      HasSubstr("file/out"));
}

TEST_F(Cli, StandardOutputThatCannotBeWrittenIsAnOutputError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  // The second one writes more than a buffer holds.
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"list"}, {"render", "--help"}}) {
    const Outcome outcome = wait_for(start(arguments, "/dev/full"));
    EXPECT_EQ(outcome.exit_code, kOutput);
    EXPECT_THAT(outcome.err, HasSubstr("standard output"));
  }
}

// --- list and info ---

TEST_F(Cli, ListWithoutWeights) {
  const Outcome list = run({"list"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_EQ(list.err, "");
  for (const char* fact : {"14,714,688", "4,224", "block5_conv3", "96 x 96 x 64", "block3_pool",
                           "12 x 12 x 256", "2,359,808", "none found", "weights/fetch.sh"}) {
    EXPECT_THAT(list.out, HasSubstr(fact));
  }
  // Forward and backward, 2 x 9 x 3 operations at each of 96 x 96 positions: 0.001 GFLOP.
  EXPECT_TRUE(std::regex_search(list.out, std::regex("block1_conv1 .* 64 +1,792 +0\\.0010 +-\n")))
      << list.out;
  EXPECT_TRUE(std::regex_search(list.out, std::regex("block5_conv3 .* 512 +2,359,808 +10\\.9"))) << list.out;
}

TEST_F(Cli, ListAtAnotherSizeWithWeights) {
  const Outcome list = run({"list", "--size", "77", "--weights", "synthetic:3"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out,
              AllOf(HasSubstr("77 x 77 x 64"), HasSubstr("38 x 38 x 128"), HasSubstr("4 x 4 x 512"),
                    HasSubstr("2 x 2 x 512"), HasSubstr("synthetic:3"), HasSubstr("holds 13 of 13 layers")));
}

TEST_F(Cli, InfoPrintsBuildDevicesLibrariesAndPlaces) {
  const Outcome info = run({"info"});
  EXPECT_EQ(info.exit_code, 0);
  EXPECT_EQ(info.err, "");
  for (const char* fact : {"filterscope ", "compiler", "CUDA at build", "cpu", "--device auto", "HDF5", "fmt",
                           "nlohmann json", "stb_image_write", "cxxopts", "$FILTERSCOPE_WEIGHTS", "weights/",
                           "~/.keras/models/", "nothing found", "weights/fetch.sh", "plan cache"}) {
    EXPECT_THAT(info.out, HasSubstr(fact));
  }
  EXPECT_THAT(info.out, Not(HasSubstr("not available")));
}

TEST_F(Cli, KernelsCanBeChosenForMeasuring) {
  environment_ = {{"FILTERSCOPE_CPU_KERNELS", "generic"}};
  EXPECT_THAT(run({"info"}).out, HasSubstr("kernels: generic"));
  environment_ = {{"FILTERSCOPE_CPU_KERNELS", "mmx"}};
  EXPECT_THAT(run({"info"}).out, AllOf(HasSubstr("$FILTERSCOPE_CPU_KERNELS: mmx"), HasSubstr("generic")));
  EXPECT_THAT(error_of({"render", "--weights", "synthetic", "--device", "cpu", "block1_conv1:0"}, kUsage),
              HasSubstr("expected one of"));
}

TEST_F(Cli, InfoPrintsWhereWeightsWereFound) {
  fs::create_directory(folder_ / "weights");
  write_first_layer("weights/mine.safetensors");
  EXPECT_TRUE(std::regex_search(
      run({"info"}).out, std::regex("weights/ .*mine\\.safetensors +<- read when weights are needed\n")));
  EXPECT_THAT(run({"list"}).out, HasSubstr("holds 1 of 13 layers"));
}

TEST_F(Cli, InfoAnswersWhetherWeightsAreFound) {
  const Outcome nowhere = run({"info", "--weights", "nowhere.h5"});
  EXPECT_EQ(nowhere.exit_code, kInput);
  EXPECT_THAT(nowhere.out, HasSubstr("nowhere.h5: nothing found"));
  std::ofstream(folder_ / "text.h5") << "no weights";
  EXPECT_THAT(run({"info", "--weights", "text.h5"}).err, HasSubstr("text.h5"));
  EXPECT_EQ(run({"info", "--weights", "text.h5"}).exit_code, kInput);
  const Outcome synthetic = run({"info", "--weights", "synthetic:3"});
  EXPECT_EQ(synthetic.exit_code, 0);
  EXPECT_THAT(synthetic.out,
              AllOf(HasSubstr("synthetic:3: made by the program"), HasSubstr("13 of 13 layers")));
  environment_ = {{"FILTERSCOPE_WEIGHTS", "synthetic:4"}};
  EXPECT_THAT(run({"info"}).out, HasSubstr("synthetic:4: made by the program"));
  EXPECT_THAT(run({"list"}).out, HasSubstr("holds 13 of 13 layers"));
  EXPECT_THAT(error_of({"info", "--weights", "synthetic:x"}, kUsage), HasSubstr("found \"x\""));
}

TEST_F(Cli, ReportsHowWeightsDifferFromTheFile) {
  write_first_layer("pt.safetensors");
  std::ifstream stream(folder_ / "pt.safetensors", std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const std::string metadata = R"("__metadata__":{"format":"mlx"},)";
  bytes.insert(9, metadata);
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data(), 8);
  size += metadata.size();
  std::memcpy(bytes.data(), &size, 8);
  std::ofstream(folder_ / "mlx.safetensors", std::ios::binary) << bytes;

  const std::string note = "kernels transposed from the order of the file's format, mlx";
  EXPECT_THAT(run({"info", "--weights", "mlx.safetensors"}).out, HasSubstr(note));
  EXPECT_THAT(run({"info", "--weights", "pt.safetensors"}).out, Not(HasSubstr("transposed")));
  const Outcome rendered = run({"render", "--device", "cpu", "--size", "32", "--iterations", "1", "--weights",
                                "mlx.safetensors", "block1_conv1:1"});
  EXPECT_EQ(rendered.exit_code, 0) << rendered.err;
  EXPECT_THAT(rendered.err + rendered.out, HasSubstr(note));
  std::ifstream manifest(folder_ / "filterscope-out/manifest.json");
  EXPECT_EQ(nlohmann::json::parse(manifest)["weights"]["conversions"], nlohmann::json{note});
}

TEST_F(Cli, LostTracesAreReportedAndTheRestIsUsed) {
  ASSERT_EQ(render({"block1_conv1:0"}).exit_code, 0);
  fs::remove(folder_ / "filterscope-out/traces.csv");
  const Outcome page = run({"gallery"});
  EXPECT_EQ(page.exit_code, 0);
  EXPECT_THAT(page.err, HasSubstr("filterscope-out/traces.csv is missing"));
  const Outcome again = render({"block1_conv1:0-1"});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.err, AllOf(HasSubstr("traces.csv is missing"), HasSubstr("Already: 1 filter")));
}

}  // namespace
}  // namespace filterscope
