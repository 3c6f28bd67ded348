#pragma once

// Runs the program as a process, and judges it by exit code, output and files.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace filterscope {

inline constexpr int kUsage = 2;
inline constexpr int kInput = 3;
inline constexpr int kDevice = 4;
inline constexpr int kOutput = 5;
inline constexpr int kInterrupted = 130;

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Removes the environment's variables whose "NAME=VALUE" begins with `prefix`.
inline void unset_all(std::string_view prefix) {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (const std::string_view text(*entry); text.starts_with(prefix))
      names.emplace_back(text.substr(0, text.find('=')));
  for (const std::string& name : names) unsetenv(name.c_str());
}

struct Outcome {
  int exit_code = -1;  // 1000 + signal if a signal killed it.
  std::string out;
  std::string err;
};

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "filterscope-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Starts the program in an empty folder, which is also its home, so that no weights are found by chance.
  pid_t start(const std::vector<std::string>& arguments, const std::string& standard_output = "stdout.txt",
              const std::string& standard_error = "stderr.txt") {
    const std::filesystem::path out = folder_ / standard_output;
    const std::filesystem::path err = folder_ / standard_error;
    std::vector<std::string> words = program_;
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);

    const pid_t child = fork();
    if (child != 0) return child;
    const int out_file = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err_file = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(out_file, STDOUT_FILENO);
    dup2(err_file, STDERR_FILENO);
    setenv("HOME", folder_.c_str(), 1);
    unsetenv("FILTERSCOPE_WEIGHTS");
    // The tests may themselves run under OpenMP's settings, a launcher or a terminal.
    for (const char* prefix : {"OMP_", "SLURM_", "OMPI_", "PMI_", "MPI_LOCAL", "TERM=", "COLUMNS="})
      unset_all(prefix);
    for (const auto& [name, value] : environment_) setenv(name.c_str(), value.c_str(), 1);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGXCPU}) std::signal(signal, SIG_DFL);
    if (chdir(folder_.c_str()) != 0) _exit(127);
    if (prepare_) prepare_();
    execv(argv[0], argv.data());
    _exit(127);
  }

  // Waits until `path` exists, the child has ended, or three minutes have passed.
  void wait_for_file(pid_t child, const std::string& path) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    siginfo_t ended{};
    while (!exists(path) && std::chrono::steady_clock::now() < deadline) {
      if (waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          ended.si_pid == child)
        break;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_TRUE(exists(path)) << path;
  }

  Outcome wait_for(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status),
            read_text(folder_ / "stdout.txt"), read_text(folder_ / "stderr.txt")};
  }

  Outcome run(const std::vector<std::string>& arguments) { return wait_for(start(arguments)); }

  // Runs a render that takes almost no time; `more` comes last.
  Outcome render(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"render",       "--weights", "synthetic", "--size", "32",
                                       "--iterations", "2",         "--device",  "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  // Expects the program to end with `exit_code` and exactly one message, which it returns.
  std::string error_of(const std::vector<std::string>& arguments, int exit_code) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, ::testing::StartsWith("filterscope: error: "));
    EXPECT_EQ(outcome.err.find("error: "), outcome.err.rfind("error: ")) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    return outcome.err;
  }

  nlohmann::json manifest(const std::string& out = "filterscope-out") {
    return nlohmann::json::parse(read_text(folder_ / out / "manifest.json"));
  }

  std::vector<std::string> files_of(const std::string& out) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / out))
      if (!entry.is_directory()) names.push_back(entry.path().lexically_relative(folder_ / out).string());
    std::ranges::sort(names);
    return names;
  }

  nlohmann::json manifest_without_times(const std::string& out) {
    nlohmann::json json = manifest(out);
    for (const char* member : {"command_lines", "started", "wall_seconds", "phases", "filters_per_second"})
      json.erase(member);
    return json;
  }

  // Expects the same pictures, tables and manifest, except dates, times and command lines.
  void expect_same(const std::string& out, const std::string& reference) {
    const std::vector<std::string> files = files_of(reference);
    ASSERT_EQ(files_of(out), files);
    for (const std::string& file : files) {
      if (file == "manifest.json" || file == "index.html") continue;  // They contain dates and times.
      EXPECT_TRUE(read_text(folder_ / out / file) == read_text(folder_ / reference / file)) << file;
    }
    EXPECT_EQ(manifest_without_times(out), manifest_without_times(reference));
  }

  bool exists(const std::string& path) { return std::filesystem::exists(folder_ / path); }

  // Writes an array of floats of the given shape, each `value`.
  void write_npy(const std::string& name, const std::vector<int>& shape, float value) {
    std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    std::size_t count = 1;
    for (const int extent : shape) {
      text += std::to_string(extent) + ", ";
      count *= static_cast<std::size_t>(extent);
    }
    text += "), }";
    while ((10 + text.size() + 1) % 64 != 0) text += ' ';
    text += '\n';
    std::ofstream stream(folder_ / name, std::ios::binary);
    stream << std::string("\x93NUMPY\x01\x00", 8) << static_cast<char>(text.size() & 255)
           << static_cast<char>(text.size() >> 8) << text;
    const std::vector<float> values(count, value);
    stream.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(count * sizeof(float)));
  }

  // Writes the first layer as in torchvision's file: filter 0 can never be active, the others always are.
  void write_first_layer(const std::string& name) {
    constexpr std::size_t kKernel = 64 * 3 * 3 * 3;
    const nlohmann::json header{
        {"features.0.weight",
         {{"dtype", "F32"}, {"shape", {64, 3, 3, 3}}, {"data_offsets", {0, kKernel * 4}}}},
        {"features.0.bias",
         {{"dtype", "F32"}, {"shape", {64}}, {"data_offsets", {kKernel * 4, kKernel * 4 + 256}}}},
    };
    std::vector<float> values(kKernel + 64, 0.f);
    for (std::size_t i = 27; i < kKernel; ++i) values[i] = 0.01f * static_cast<float>(1 + i % 7);
    values[kKernel] = -1.f;
    values[kKernel + 63] = -2.f;
    const std::string text = header.dump();
    const std::uint64_t size = text.size();
    std::ofstream stream(folder_ / name, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(&size), 8);
    stream << text;
    stream.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(values.size() * sizeof(float)));
  }

  std::filesystem::path folder_;
  std::vector<std::string> program_{FILTERSCOPE_PROGRAM};  // The program and the words before its arguments.
  std::map<std::string, std::string> environment_;  // Variables of the program in addition to the test's.
  std::function<void()> prepare_;                   // Called in the child process before the program starts.
};

}  // namespace filterscope
