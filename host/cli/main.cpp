#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "../base/error.h"
#include "../base/exhaustion.h"
#include "../base/nearest_name.h"
#include "commands.h"
#include "process_setup.h"
#include "text.h"
#include "version.h"

namespace {

using filterscope::Error;
using filterscope::ErrorKind;

constexpr int kProgramError = 1;
constexpr int kOutOfMemory = static_cast<int>(ErrorKind::device);

struct Command {
  const char* name;
  const char* about;
  int (*run)(const std::vector<std::string>&);
};
constexpr std::array kCommands{
    Command{"render", "Render what filters look for", filterscope::cli::run_render},
    Command{"merge", "Join the results of several folders in one", filterscope::cli::run_merge},
    Command{"gallery", "Write the page to browse a run's pictures, or to compare two runs",
            filterscope::cli::run_gallery},
    Command{"recipes", "List the recipes, or print one as JSON", filterscope::cli::run_recipes},
    Command{"list", "List the layers: shapes, parameters, cost, and which of them the weights hold",
            filterscope::cli::run_list},
    Command{"info", "Print the version, devices, libraries, and where weights are looked for",
            filterscope::cli::run_info},
};

void print_help() {
  fmt::print(
      "filterscope {} shows what every convolution filter of a pretrained VGG16 looks for.\n\n"
      "Usage: filterscope COMMAND [ARGUMENT...]\n\nCommands\n",
      filterscope::kVersion);
  for (const Command& command : kCommands) fmt::print("  {:<10} {}\n", command.name, command.about);
  fmt::print(
      "\nOptions\n"
      "  --help     Print this help; `filterscope COMMAND --help` explains one command\n"
      "  --version  Print the version\n\n"
      "Examples\n"
      "  filterscope render block1_conv2:18 --verbose\n"
      "  filterscope render '*:0-7' --iterations 100 --out sampler\n"
      "  filterscope render --weights synthetic 'block1_*:random4'\n"
      "  filterscope list --size 128\n\n{}",
      filterscope::cli::exit_codes_help());
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    throw Error(
        ErrorKind::usage,
        "expected a command (render, merge, gallery, recipes, list or info), found none; see `filterscope "
        "--help`");
  }
  const std::string& first = arguments.front();
  if (first == "--help" || first == "-h") {
    print_help();
    return 0;
  }
  if (first == "--version") {
    fmt::print("filterscope {}\n", filterscope::kVersion);
    return 0;
  }
  for (const Command& command : kCommands) {
    if (first == command.name) return command.run({arguments.begin() + 1, arguments.end()});
  }
  std::vector<std::string> known{"--help", "--version"};
  for (const Command& command : kCommands) known.emplace_back(command.name);
  const auto nearest = filterscope::nearest_name(first, known);
  throw Error(
      ErrorKind::usage,
      fmt::format("expected a command (render, merge, gallery, recipes, list or info), found \"{}\"{}; see "
                  "`filterscope --help`",
                  first, nearest ? fmt::format("; did you mean {}?", *nearest) : ""));
}

int fail(int exit_code, const std::string& message) {
  std::fflush(stdout);
  filterscope::cli::tell("filterscope: error: {}\n", message);
  return exit_code;
}

int fail_of_output(int number) {
  if (number == EPIPE) {  // The reader has seen enough, as `head` has: die of SIGPIPE, silently, as usual.
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  const std::string advice = number == EFBIG ? filterscope::file_size_advice() : "";
  return fail(static_cast<int>(ErrorKind::output),
              fmt::format("standard output: could not be written: {}{}{}", std::strerror(number),
                          advice.empty() ? "" : "; ", advice));
}

}  // namespace

int main(int argc, char** argv) {
  filterscope::cli::prepare_process();
  prctl(PR_SET_NAME, "filterscope");  // For ps and pkill, which would show the loader's name if there is one.
  try {
    const int exit_code = run({argv + std::min(argc, 1), argv + argc});
    const int output_error = filterscope::cli::finish_output();
    return exit_code == 0 && output_error != 0 ? fail_of_output(output_error) : exit_code;
  } catch (const Error& error) {
    return fail(error.exit_code(), error.what());
  } catch (const std::bad_alloc&) {
    const bool renders = argc > 1 && argv[1] == std::string_view("render");
    return fail(kOutOfMemory,
                fmt::format("out of memory; {}{}", renders ? "give a smaller --batch or --size, or " : "",
                            filterscope::exhaustion_advice(ENOMEM)));
  } catch (const std::system_error& error) {
    // fmt::print() throws it if the text is longer than the stream's buffer.
    if (std::ferror(stdout) != 0) return fail_of_output(error.code().value());
    if (filterscope::is_exhaustion(error.code().value()))
      return fail(kOutOfMemory,
                  fmt::format("{}; {}", error.what(), filterscope::exhaustion_advice(error.code().value())));
    return fail(kProgramError, fmt::format("unexpected: {}", error.what()));
  } catch (const std::exception& exception) {
    return fail(kProgramError, fmt::format("unexpected: {}", exception.what()));
  }
}
