// The time of cuDNN's plans for each convolution of VGG16 on a GPU: for every graph in which it can be
// written (fused and not, dgrad as such and as fprop with rotated weights), the fastest of the plans that
// cuDNN proposes and the first one. Two ceilings are measured in the same run: the largest matrix product and
// a copy in device memory.
//
// Data are random; times are those of graph replays after a warm-up (host/cuda/plan/timing.h). Operations are
// those of the convolution, 2 per multiply-add; traffic counts each map once.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cxxopts.hpp>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cuda_ceilings.h"
#include "host/base/error.h"
#include "host/cuda/cudnn/fastest_plan.h"
#include "host/cuda/plan/timing.h"
#include "host/model/network.h"

namespace {

using namespace filterscope;
using namespace filterscope::cuda;
using nlohmann::json;

constexpr Extent kImage{96, 96};
constexpr std::size_t kWorkspaceLimit = std::size_t{4} << 30;
// A plan that takes this much longer than the best so far is not timed again.
constexpr double kCutoffFactor = 3;

struct Options {
  std::vector<int> batches;
  std::vector<Precision> precisions;
  std::vector<int> layers;
  PlanLimits plans;
};

struct Variant {
  Formulation formulation;
  Epilogue epilogue;
  BiasType bias_type = BiasType::storage;
};
constexpr std::array kForward{
    Variant{Formulation::fprop, Epilogue::none},
    Variant{Formulation::fprop, Epilogue::bias_relu},
    Variant{Formulation::fprop, Epilogue::bias_relu, BiasType::fp32},
    Variant{Formulation::fprop, Epilogue::bias_relu_bytes},
    Variant{Formulation::fprop, Epilogue::bias_relu_bytes, BiasType::fp32},
    Variant{Formulation::fprop, Epilogue::bias_relu_boolean},
};
constexpr std::array kInputGradient{
    Variant{Formulation::dgrad, Epilogue::none},
    Variant{Formulation::dgrad, Epilogue::relu_backward},
    Variant{Formulation::dgrad, Epilogue::bytes_product},
    Variant{Formulation::dgrad, Epilogue::bytes_select},
    Variant{Formulation::dgrad, Epilogue::boolean_select},
    Variant{Formulation::rotated_fprop, Epilogue::none},
    Variant{Formulation::rotated_fprop, Epilogue::relu_backward},
    Variant{Formulation::rotated_fprop, Epilogue::bytes_product},
    Variant{Formulation::rotated_fprop, Epilogue::bytes_select},
    Variant{Formulation::rotated_fprop, Epilogue::boolean_select},
};

// Not above the image, nor above a pool, whose own gradient applies the mask.
bool has_relu_below(int layer) {
  return layer > 0 && !vgg16().convolutions[layer - 1].pool_after;
}

std::size_t elements(const GraphDescription& graph, int channels) {
  return std::size_t(graph.images) * graph.height * graph.width * channels;
}

double operations(const GraphDescription& graph) {
  return 2. * 9 * graph.in_channels * static_cast<double>(elements(graph, graph.out_channels));
}

// The bytes read and written if nothing is read twice, without the weights.
double traffic(const GraphDescription& graph) {
  const auto storage = static_cast<double>(storage_bytes(graph.precision));
  const auto result = static_cast<double>(elements(graph, graph.destination_channels()));
  double bytes = storage * (static_cast<double>(elements(graph, graph.source_channels())) + result);
  if (graph.epilogue == Epilogue::relu_backward) bytes += storage * result;
  if (graph.epilogue != Epilogue::none && graph.epilogue != Epilogue::bias_relu &&
      graph.epilogue != Epilogue::relu_backward) {
    bytes += result;
  }
  return bytes;
}

// Device memory for the graphs of one layer and direction.
class Maps {
 public:
  explicit Maps(const GraphDescription& graph)
      : source_(random_values(elements(graph, graph.source_channels()), graph.precision)),
        weights_(random_values(std::size_t{9} * graph.in_channels * graph.out_channels, graph.precision)),
        // May be read as either type.
        bias_(random_values(std::size_t{2} * graph.out_channels, graph.precision)),
        // Used as an activation or, with arbitrary bytes, as a mask.
        mask_in_(random_values(elements(graph, graph.destination_channels()), graph.precision)),
        destination_(elements(graph, graph.destination_channels()) * storage_bytes(graph.precision)),
        mask_out_(elements(graph, graph.destination_channels())) {}

  ConvolutionArguments arguments(Epilogue epilogue, void* workspace) const {
    ConvolutionArguments arguments{.source = source_.data(),
                                   .weights = weights_.data(),
                                   .destination = destination_.data(),
                                   .workspace = workspace};
    switch (epilogue) {
      case Epilogue::none:
        break;
      case Epilogue::bias_relu_bytes:
      case Epilogue::bias_relu_boolean:
        arguments.mask_out = mask_out_.data();
        [[fallthrough]];
      case Epilogue::bias_relu:
        arguments.bias = bias_.data();
        break;
      case Epilogue::relu_backward:
      case Epilogue::bytes_product:
      case Epilogue::bytes_select:
      case Epilogue::boolean_select:
        arguments.mask_in = mask_in_.data();
    }
    return arguments;
  }

 private:
  DeviceBuffer<std::byte> source_, weights_, bias_, mask_in_, destination_, mask_out_;
};

class Probe {
 public:
  // `keep` is called whenever the report has changed.
  Probe(const Options& options, json& report, std::function<void()> keep)
      : options_(options),
        report_(report),
        keep_(std::move(keep)),
        handle_(std::make_shared<const CudnnHandle>()) {}

  void run() {
    report_["ceilings"]["copy GB/s"] = copy_ = bench::copy_bandwidth(stream_) / 1e9;
    fmt::print("| | ceiling |\n|---|---|\n| copy in device memory | {:.0f} GB/s |\n", copy_);
    for (const Precision precision : options_.precisions) {
      const std::string name(to_string(precision));
      report_["ceilings"][name + " TFLOP/s"] = product_[precision] =
          bench::matrix_product(precision, stream_) / 1e12;
      fmt::print("| matrix product, {} | {:.0f} TFLOP/s |\n", name, product_[precision]);
    }
    fmt::print("\n| layer | images | graph | fastest plan | ms | first plan, ms | TFLOP/s | of the product ");
    fmt::print("| traffic, of the copy |\n|---|---|---|---|---|---|---|---|---|\n");
    for (const Precision precision : options_.precisions) {
      for (const int batch : options_.batches) {
        for (const int layer : options_.layers) {
          measure_layer(layer, batch, precision);
          keep_();
        }
      }
    }
  }

 private:
  void measure_layer(int layer, int batch, Precision precision) {
    const Convolution& convolution = vgg16().convolutions[layer];
    const Extent map = vgg16().map_extent(layer, kImage);
    GraphDescription graph{.images = batch,
                           .height = map.height,
                           .width = map.width,
                           .in_channels = convolution.in_channels,
                           .out_channels = convolution.out_channels,
                           .precision = precision};
    const auto measure = [&](const auto& variants) {
      graph.formulation = variants.front().formulation;
      std::optional<Maps> maps;
      try {
        maps.emplace(graph);
      } catch (const OutOfMemory& error) {
        fmt::print(stderr, "{}: {}\n", to_string(graph), error.what());
        return;
      }
      for (const Variant& variant : variants) {
        graph.formulation = variant.formulation;
        graph.epilogue = variant.epilogue;
        graph.bias_type = variant.bias_type;
        if (is_wanted(variant, layer, precision)) measure_graph(convolution.name, graph, *maps);
      }
    };
    measure(kForward);
    measure(kInputGradient);
  }

  static bool is_wanted(const Variant& variant, int layer, Precision precision) {
    const bool half = precision == Precision::bf16 || precision == Precision::fp16;
    if (variant.bias_type == BiasType::fp32 && !half) return false;  // The storage type is the same.
    if (variant.epilogue == Epilogue::none || variant.epilogue == Epilogue::bias_relu) return true;
    // In fp32, there is only one slow kernel, which takes up to 10 s to compile.
    if (precision == Precision::fp32) return false;
    return variant.formulation == Formulation::fprop || has_relu_below(layer);
  }

  void measure_graph(const std::string& layer, const GraphDescription& description, const Maps& maps) {
    json row{{"layer", layer}, {"graph", to_string(description)}};
    std::string refusal;
    const auto graph = ConvolutionGraph::make(description, handle_, kWorkspaceLimit, &refusal);
    json plans = json::array();
    std::optional<double> first;
    const auto time = [&](int plan, const TimedPlan& so_far) {
      json& entry = plans.emplace_back(json{{"plan", graph->plan_name(plan)}});
      try {
        std::string reason;
        if (!graph->build(plan, &reason)) throw Error(ErrorKind::device, reason);
        const DeviceBuffer<std::byte> workspace(graph->workspace_bytes(plan));
        const ConvolutionArguments arguments = maps.arguments(description.epilogue, workspace.data());
        const double milliseconds = device_milliseconds(
            stream_, [&] { graph->launch(plan, *handle_, arguments, stream_); },
            kCutoffFactor * so_far.milliseconds);
        entry["milliseconds"] = milliseconds;
        entry["workspace"] = workspace.size();
        // The plan that cuDNN considers the best, if it works.
        if (plan == 0) first = milliseconds;
        return milliseconds;
      } catch (const std::exception& error) {
        check(cudaDeviceSynchronize(), "after {} {} failed ({})", to_string(description),
              graph->plan_name(plan), error.what());
        entry["error"] = error.what();
        return std::numeric_limits<double>::infinity();
      }
    };
    const TimedPlan best = graph ? fastest_plan(*graph, options_.plans, time) : TimedPlan{};
    row["plans"] = std::move(plans);
    const std::string text = fmt::format(
        "{} {}{} {}", to_string(description.formulation), to_string(description.epilogue),
        description.bias_type == BiasType::fp32 ? " fp32-bias" : "", to_string(description.precision));
    if (best.plan < 0) {
      row["refusal"] = graph ? "no plan works" : refusal;
      fmt::print("| {} | {} | {} | none | | | | | |\n", layer, description.images, text);
    } else {
      const double tflops = operations(description) / best.milliseconds / 1e9;
      const double gigabytes = traffic(description) / best.milliseconds / 1e6;
      row["best"] = graph->plan_name(best.plan);
      row["milliseconds"] = best.milliseconds;
      row["TFLOP/s"] = tflops;
      row["share of matrix product"] = tflops / product_[description.precision];
      row["GB/s"] = gigabytes;
      row["share of copy"] = gigabytes / copy_;
      if (first) row["first plan, milliseconds"] = *first;
      fmt::print("| {} | {} | {} | {} | {:.4f} | {} | {:.1f} | {:.0f} % | {:.0f} % |\n", layer,
                 description.images, text, graph->plan_name(best.plan), best.milliseconds,
                 first ? fmt::format("{:.4f}", *first) : "fails", tflops,
                 100 * tflops / product_[description.precision], 100 * gigabytes / copy_);
    }
    std::fflush(stdout);
    report_["graphs"].push_back(std::move(row));
  }

  const Options& options_;
  json& report_;
  std::function<void()> keep_;
  std::shared_ptr<const CudnnHandle> handle_;
  Stream stream_;
  double copy_ = 0;
  std::map<Precision, double> product_;
};

// The layers whose convolutions differ, or the operation below them.
std::vector<int> different_layers() {
  std::vector<int> layers;
  std::set<std::tuple<int, int, std::int64_t, bool>> seen;
  for (int layer = 0; layer < vgg16().layer_count(); ++layer) {
    const Convolution& convolution = vgg16().convolutions[layer];
    if (seen.emplace(convolution.in_channels, convolution.out_channels,
                     vgg16().map_extent(layer, kImage).positions(), has_relu_below(layer))
            .second) {
      layers.push_back(layer);
    }
  }
  return layers;
}

struct Arguments {
  Options options;
  int device = 0;
  std::string file;
};

// None if help was requested and printed.
std::optional<Arguments> parse(int argc, char** argv) {
  cxxopts::Options parser("bench_cudnn_plans",
                          "The time of cuDNN's plans for each convolution of VGG16 at 96 x 96.");
  // clang-format off
  parser.add_options()
    ("layers", "Layers, such as block3_conv2 (default: each that differs from those before it)", cxxopts::value<std::vector<std::string>>(), "NAME,...")
    ("images", "Images at once", cxxopts::value<std::vector<int>>()->default_value("512"), "N,...")
    ("precisions", "fp32, tf32, bf16, fp16", cxxopts::value<std::vector<std::string>>()->default_value("bf16"), "P,...")
    ("precompiled", "Precompiled plans timed per graph", cxxopts::value<int>()->default_value("100"), "N")
    ("compiled", "Plans compiled and timed per graph, 0.1 to 1 s each", cxxopts::value<int>()->default_value("5"), "N")
    ("device", "Number of the CUDA device", cxxopts::value<int>()->default_value("0"), "N")
    ("json", "Also write everything here", cxxopts::value<std::string>(), "FILE")
    ("help", "Print this");
  // clang-format on
  const auto given = parser.parse(argc, argv);
  if (given.count("help") != 0) {
    fmt::print("{}", parser.help());
    return std::nullopt;
  }
  Arguments arguments;
  arguments.options.batches = given["images"].as<std::vector<int>>();
  for (const std::string& name : given["precisions"].as<std::vector<std::string>>()) {
    arguments.options.precisions.push_back(parse_precision(name));
    if (arguments.options.precisions.back() == Precision::automatic) {
      throw Error(ErrorKind::usage, "--precisions: expected some of fp32, tf32, bf16, fp16");
    }
  }
  if (given.count("layers") == 0) arguments.options.layers = different_layers();
  for (const std::string& name : given.count("layers") == 0
                                     ? std::vector<std::string>{}
                                     : given["layers"].as<std::vector<std::string>>()) {
    const auto layer = vgg16().find(name);
    if (!layer) throw Error(ErrorKind::usage, fmt::format("--layers: VGG16 has no {}", name));
    arguments.options.layers.push_back(*layer);
  }
  arguments.options.plans = {.precompiled = given["precompiled"].as<int>(),
                             .compiled = given["compiled"].as<int>()};
  arguments.device = given["device"].as<int>();
  if (given.count("json") != 0) arguments.file = given["json"].as<std::string>();
  return arguments;
}

void run(const Arguments& arguments) {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0) {
    throw Error(ErrorKind::device, fmt::format("no CUDA device ({})", cudaGetErrorString(status)));
  }
  check(cudaSetDevice(arguments.device), "--device {}", arguments.device);
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, arguments.device), "asking for the properties of device {}",
        arguments.device);
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  json report{{"device", properties.name},
              {"compute capability", fmt::format("{}.{}", properties.major, properties.minor)},
              {"cuDNN", cudnn_version()},
              {"CUDA runtime", CUDART_VERSION},
              {"driver", driver},
              {"graphs", json::array()}};
  fmt::print("{}, cuDNN {}, CUDA runtime {}, driver for CUDA {}\n\n", properties.name, cudnn_version(),
             CUDART_VERSION, driver);
  const auto write = [&] {
    if (!arguments.file.empty()) std::ofstream(arguments.file) << report.dump(1) << "\n";
  };
  Probe(arguments.options, report, write).run();
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<Arguments> arguments;
  try {
    arguments = parse(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_cudnn_plans: {}\n", error.what());
    return static_cast<int>(ErrorKind::usage);
  }
  try {
    if (arguments) run(*arguments);
  } catch (const Error& error) {
    fmt::print(stderr, "bench_cudnn_plans: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_cudnn_plans: {}\n", error.what());
    return 1;
  }
  return 0;
}
