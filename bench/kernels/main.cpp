// Times every operation and every variant of it, on the real shapes of VGG16's layers, and relates the times
// to the device's peaks. bench/README.md explains the output.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cxxopts.hpp>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "host/base/processors.h"
#include "host/base/threads.h"
#include "layers.h"
#include "operation.h"
#if defined(FILTERSCOPE_BENCH_CPU)
#include "cpu/families.h"
#endif
#if defined(FILTERSCOPE_BENCH_CUDA)
#include "cuda/families.h"
#endif
#if defined(FILTERSCOPE_BENCH_CUDA_LIBRARIES)
#include "../cuda_ceilings.h"
#include "host/cuda/devices.h"
#endif

namespace {

using namespace filterscope;
using namespace filterscope::bench;

constexpr const char* kHelp =
    "Times of every kernel and its variants. All of Google Benchmark's options work as well, such as\n"
    "--benchmark_filter=REGEX, --benchmark_list_tests, --benchmark_out=FILE.json, "
    "--benchmark_repetitions=N.\n";

// Two blocks with small odd maps: they take every code path of the real layers, in an instant.
Network tiny_network() {
  return {.name = "tiny",
          .convolutions = {{"tiny1_conv1", 3, 64, false},
                           {"tiny1_conv2", 64, 64, true},
                           {"tiny2_conv1", 64, 128, false},
                           {"tiny2_conv2", 128, 128, true},
                           {"tiny3_conv1", 128, 128, false},
                           {"tiny3_conv2", 128, 128, false}}};
}

Selection parse(int argc, char** argv, std::vector<std::string>& others) {
  cxxopts::Options parser("bench_kernels", kHelp);
  parser.allow_unrecognised_options();
  // clang-format off
  parser.add_options()
    ("shapes", "vgg16: its layers at 96 x 96. tiny: a small network, only to check that everything works", cxxopts::value<std::string>()->default_value("vgg16"), "NAME")
    ("cpu-batches", "Images at once on the CPU (1,16)", cxxopts::value<std::vector<int>>(), "N,...")
    ("cuda-batches", "Images at once on a GPU (16,64,256)", cxxopts::value<std::vector<int>>(), "N,...")
    ("precisions", "Precisions on a GPU", cxxopts::value<std::vector<std::string>>()->default_value("fp32,tf32,bf16,fp16"), "NAME,...")
    ("help", "Print this");
  // clang-format on
  const auto given = parser.parse(argc, argv);
  if (given.count("help") != 0) {
    fmt::print("{}", parser.help());
    std::exit(0);
  }
  const std::string shapes = given["shapes"].as<std::string>();
  if (shapes != "vgg16" && shapes != "tiny") {
    throw std::invalid_argument(fmt::format("--shapes: expected vgg16 or tiny, not \"{}\"", shapes));
  }
  const auto batches = [&](const char* option, std::vector<int> usual) {
    if (given.count(option) != 0) usual = given[option].as<std::vector<int>>();
    if (std::ranges::any_of(usual, [](int images) { return images < 1; })) {
      throw std::invalid_argument(fmt::format("--{}: expected numbers from 1", option));
    }
    return usual;
  };
  Selection selection;
  selection.tiny = shapes == "tiny";
  selection.image = selection.tiny ? Extent{10, 14} : Extent{96, 96};
  selection.network = selection.tiny ? tiny_network() : vgg16();
  selection.layers = layers_of(selection.network, selection.image);
  selection.cpu_batches = batches("cpu-batches", selection.tiny ? std::vector{3} : std::vector{1, 16});
  selection.cuda_batches =
      batches("cuda-batches", selection.tiny ? std::vector{3} : std::vector{16, 64, 256});
  selection.precisions = given["precisions"].as<std::vector<std::string>>();
  for (const std::string& name : selection.precisions) {
    if (name != "fp32" && name != "tf32" && name != "bf16" && name != "fp16") {
      throw std::invalid_argument(
          fmt::format("--precisions: expected some of fp32, tf32, bf16, fp16, not \"{}\"", name));
    }
  }
  others = given.unmatched();
  return selection;
}

#if defined(FILTERSCOPE_BENCH_CUDA)
// The reason why there is no device; empty if there is one.
std::string reason_for_no_device() {
#if defined(FILTERSCOPE_BENCH_CUDA_LIBRARIES)
  return filterscope::why_no_cuda();
#else
  return "";  // The emulated one is always there.
#endif
}

void add_cuda(const Selection& selection) {
  if (const std::string reason = reason_for_no_device(); !reason.empty()) {
    fmt::print(stderr, "bench_kernels: left out: everything on a CUDA device ({})\n", reason);
    return;
  }
#if defined(FILTERSCOPE_BENCH_CUDA_LIBRARIES)
  const auto device =
      std::make_shared<filterscope::bench::CudaDevice>(selection.tiny, matrix_product, copy_bandwidth);
#else
  const auto device = std::make_shared<filterscope::bench::CudaDevice>(selection.tiny, nullptr, nullptr);
#endif
  add_native_convolutions(selection, device);
#if defined(FILTERSCOPE_BENCH_CUDA_LIBRARIES)
  add_cudnn_convolutions(selection, device);
#endif
  add_first_layer(selection, device);
  add_cuda_filter_heads(selection, device);
  add_max_pools(selection, device);
  add_relu_masks(selection, device);
  add_cuda_ascent(selection, device);
}
#endif

void add_all(const Selection& selection) {
#if defined(FILTERSCOPE_BENCH_CPU)
  const auto cpu = std::make_shared<CpuDevice>(selection.tiny);
  add_cpu_ceilings(cpu);
  add_cpu_convolutions(selection, cpu);
  add_cpu_winograd_steps(selection, cpu);
  add_cpu_filter_heads(selection, cpu);
  add_cpu_ascent(selection, cpu);
  add_cpu_iterations(selection, cpu);
#endif
#if defined(FILTERSCOPE_BENCH_CUDA)
  add_cuda(selection);
#else
  fmt::print(stderr, "bench_kernels: left out: everything on a CUDA device (this build has no CUDA)\n");
#endif
}

int run(int argc, char** argv) {
  std::vector<std::string> others;
  const Selection selection = parse(argc, argv, others);
  // Google Benchmark's own default, 0.5 s per row, takes an hour in total. Its option on the command line
  // follows this one, and so overrides it.
  std::vector<std::string> arguments{
      argv[0], selection.tiny ? "--benchmark_min_time=1e-9" : "--benchmark_min_time=0.1"};
  arguments.insert(arguments.end(), others.begin(), others.end());
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;
  ThreadTeam team(default_threads());
  const ThreadTeam::Scope scope(&team);
  add_all(selection);
  const std::size_t matching = benchmark::RunSpecifiedBenchmarks();
  release();
  if (matching == 0) {
    fmt::print(stderr, "bench_kernels: no benchmark has such a name\n");
    return 2;
  }
  benchmark::Shutdown();
  if (failures() > 0) fmt::print(stderr, "bench_kernels: {} benchmarks failed\n", failures());
  return failures() > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_kernels: {}\n", error.what());
    return 2;
  }
}
