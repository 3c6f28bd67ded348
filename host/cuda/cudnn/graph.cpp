#include "graph.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "../../base/error.h"
#include "frontend.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace filterscope::cuda {
namespace {

namespace fe = cudnn_frontend;

void load_cudnn() {
  static std::once_flag once;
  static std::string failure;
  std::call_once(once, [] {
    // First the library that the program was built with, in case this is the build machine.
    const std::string name = fmt::format("libcudnn.so.{}", CUDNN_MAJOR);
    for (const char* path : {FILTERSCOPE_CUDNN_LIBRARY, name.c_str()}) {
      fe::cudnn_dlhandle = dlopen(path, RTLD_NOW);
      if (fe::cudnn_dlhandle != nullptr) return;
      failure = dlerror();
    }
  });
  if (fe::cudnn_dlhandle != nullptr) return;
  throw Error(ErrorKind::device,
              fmt::format("cuDNN {} cannot be loaded ({}); install it, or add its folder to "
                          "LD_LIBRARY_PATH",
                          CUDNN_MAJOR, failure));
}

[[noreturn]] void fail(std::string_view attempted, std::string_view reason) {
  throw Error(ErrorKind::device, fmt::format("cuDNN, {}: {}", attempted, reason));
}

void check(cudnnStatus_t status, std::string_view attempted) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  fail(attempted,
       fmt::format("{} {}", fe::detail::get_error_string(status), fe::detail::get_last_error_string_()));
}

void check(const fe::error_t& error, std::string_view attempted) {
  if (error.is_bad()) fail(attempted, error.err_msg);
}

// Exposes which plans cudnn-frontend's filters leave.
class Graph : public fe::graph::Graph {
 public:
  bool offers(std::int64_t plan) { return plans.check_support_at_index(plan).is_good(); }
};

// Ids of the tensors that a launch binds.
enum Tensor : std::int64_t { kSource = 1, kWeights, kBias, kDestination, kMaskOut, kMaskIn };

fe::DataType_t storage_type(Precision precision) {
  switch (precision) {
    case Precision::bf16:
      return fe::DataType_t::BFLOAT16;
    case Precision::fp16:
      return fe::DataType_t::HALF;
    default:
      return fe::DataType_t::FLOAT;
  }
}

fe::DataType_t mask_type(const GraphDescription& description) {
  switch (description.epilogue) {
    case Epilogue::relu_backward:
      return storage_type(description.precision);
    case Epilogue::bias_relu_boolean:
    case Epilogue::boolean_select:
      return fe::DataType_t::BOOLEAN;
    default:
      return fe::DataType_t::INT8;
  }
}

// cuDNN orders dimensions as NCHW; the strides give the layout.
std::vector<std::int64_t> map_dimensions(const GraphDescription& description, std::int64_t channels) {
  return {description.images, channels, description.height, description.width};
}
std::vector<std::int64_t> channels_last(const std::vector<std::int64_t>& dimensions) {
  const std::int64_t channels = dimensions[1];
  const std::int64_t width = dimensions[3] * channels;
  return {dimensions[2] * width, 1, width, channels};
}

void describe(Graph& graph, const GraphDescription& description) {
  using fe::graph::Tensor_attributes;
  const fe::DataType_t storage = storage_type(description.precision);
  graph.set_io_data_type(storage)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto input = [&](std::int64_t number, std::vector<std::int64_t> dimensions, fe::DataType_t type) {
    Tensor_attributes attributes;
    attributes.set_uid(number).set_stride(channels_last(dimensions)).set_dim(dimensions).set_data_type(type);
    return graph.tensor(attributes);
  };
  const auto output = [&](Tensor_attributes& tensor, std::int64_t number, fe::DataType_t type) {
    const auto dimensions = map_dimensions(description, description.destination_channels());
    tensor.set_output(true).set_uid(number).set_data_type(type);
    tensor.set_dim(dimensions).set_stride(channels_last(dimensions));
  };
  const auto pointwise = [](fe::PointwiseMode_t mode) {
    return fe::graph::Pointwise_attributes().set_mode(mode);
  };

  const int source_channels = description.source_channels();
  const int destination_channels = description.destination_channels();
  const auto source = input(kSource, map_dimensions(description, source_channels), storage);
  const bool dgrad = description.formulation == Formulation::dgrad;
  // dgrad takes the filter in the layout of the layer's fprop.
  const auto weights = input(
      kWeights,
      {dgrad ? source_channels : destination_channels, dgrad ? destination_channels : source_channels, 3, 3},
      storage);
  const std::vector<std::int64_t> ones{1, 1};
  std::shared_ptr<Tensor_attributes> result;
  if (dgrad) {
    result = graph.conv_dgrad(
        source, weights,
        fe::graph::Conv_dgrad_attributes().set_padding(ones).set_stride(ones).set_dilation(ones));
    const auto dimensions = map_dimensions(description, destination_channels);
    result->set_dim(dimensions).set_stride(channels_last(dimensions));
  } else {
    result = graph.conv_fprop(
        source, weights,
        fe::graph::Conv_fprop_attributes().set_padding(ones).set_stride(ones).set_dilation(ones));
  }

  if (has_bias(description.epilogue)) {
    const auto bias = input(kBias, {1, destination_channels, 1, 1},
                            description.bias_type == BiasType::fp32 ? fe::DataType_t::FLOAT : storage);
    result = graph.pointwise(result, bias, pointwise(fe::PointwiseMode_t::ADD));
    result = graph.pointwise(result, pointwise(fe::PointwiseMode_t::RELU_FWD));
    if (description.epilogue != Epilogue::bias_relu) {
      const auto mask = graph.pointwise(result, graph.tensor(0.f), pointwise(fe::PointwiseMode_t::CMP_GT));
      output(*mask, kMaskOut, mask_type(description));
    }
  } else if (description.epilogue != Epilogue::none) {
    const auto mask =
        input(kMaskIn, map_dimensions(description, destination_channels), mask_type(description));
    switch (description.epilogue) {
      case Epilogue::relu_backward:
        result = graph.pointwise(result, mask, pointwise(fe::PointwiseMode_t::RELU_BWD));
        break;
      case Epilogue::bytes_product:
        result = graph.pointwise(result, mask, pointwise(fe::PointwiseMode_t::MUL));
        break;
      default:
        result =
            graph.pointwise(result, graph.tensor(0.f), mask, pointwise(fe::PointwiseMode_t::BINARY_SELECT));
    }
  }
  output(*result, kDestination, storage);
}

void filter(Graph& graph, Precision precision, std::size_t workspace_limit) {
  using enum fe::NumericalNote_t;
  std::vector<fe::NumericalNote_t> unwanted{NONDETERMINISTIC, REDUCED_PRECISION_REDUCTION,
                                            WINOGRAD_TILE_13x13};
  if (precision == Precision::fp32) unwanted.insert(unwanted.end(), {TENSOR_CORE, DOWN_CONVERT_INPUTS});
  if (precision == Precision::bf16 || precision == Precision::fp16) unwanted.push_back(WINOGRAD);
  graph.deselect_numeric_notes(unwanted);
  graph.deselect_workspace_greater_than(static_cast<std::int64_t>(workspace_limit));
}

}  // namespace

std::string cudnn_version() {
  load_cudnn();
  const std::size_t version = fe::detail::get_backend_version();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

CudnnHandle::CudnnHandle() {
  load_cudnn();
  check(fe::detail::create_handle(&handle_), "creating a handle");
}
CudnnHandle::~CudnnHandle() {
  fe::detail::destroy_handle(handle_);
}

namespace {

// Whether the plan uses stream-K (knob 38): blocks then split outputs unevenly, and an image's result depends
// on its place in the batch.
bool splits_streams(std::string_view name) {
  constexpr std::string_view kKnob = "_k38=";
  const std::size_t at = name.find(kKnob);
  return at != std::string_view::npos && !name.substr(at + kKnob.size()).starts_with("0");
}

}  // namespace

struct ConvolutionGraph::State {
  struct Plan {
    std::int64_t index;  // cudnn-frontend's index.
    std::string name;
    bool compiles;
    bool built = false;
  };

  GraphDescription description;
  std::string text;
  std::shared_ptr<const CudnnHandle> handle;
  std::unique_ptr<Graph> graph;
  std::vector<Plan> plans;

  // Returns why there is no plan, or an empty string.
  std::string query(fe::HeurMode_t mode, std::shared_ptr<const fe::DeviceProperties> properties,
                    std::size_t workspace_limit) {
    graph = std::make_unique<Graph>();
    if (properties) graph->set_device_properties(std::move(properties));
    describe(*graph, description);
    fe::error_t error = graph->validate();
    if (error.is_good()) error = graph->build_operation_graph(handle ? handle->get() : nullptr);
    if (error.is_good()) error = graph->create_execution_plans({mode});
    if (error.is_bad()) return error.err_msg;
    filter(*graph, description.precision, workspace_limit);
    for (std::int64_t index = 0; index < graph->get_execution_plan_count(); ++index) {
      if (!graph->offers(index)) continue;
      std::string name;
      check(graph->get_plan_name_at_index(index, name), text);
      if (splits_streams(name)) continue;
      std::vector<fe::BehaviorNote_t> notes;
      check(graph->get_behavior_notes_for_plan_at_index(index, notes), text);
      const bool compiles = std::ranges::find(notes, fe::BehaviorNote_t::RUNTIME_COMPILATION) != notes.end();
      plans.push_back({index, std::move(name), compiles});
    }
    return plans.empty() ? "no plan is left that is exact enough and small enough" : "";
  }
};

ConvolutionGraph::ConvolutionGraph(std::unique_ptr<State> state) : state_(std::move(state)) {}
ConvolutionGraph::~ConvolutionGraph() = default;

std::unique_ptr<ConvolutionGraph> ConvolutionGraph::make(const GraphDescription& description,
                                                         const Device& device, std::size_t workspace_limit,
                                                         std::string* refusal) {
  load_cudnn();
  auto state = std::make_unique<State>();
  state->description = description;
  state->text = to_string(description);
  std::shared_ptr<fe::DeviceProperties> properties;
  if (const auto* text = std::get_if<std::string>(&device)) {
    properties = std::make_shared<fe::DeviceProperties>();
    check(properties->deserialize({text->begin(), text->end()}), "reading device properties");
  } else {
    state->handle = std::get<std::shared_ptr<const CudnnHandle>>(device);
  }
  // The fallback's kernels are slow, and some take seconds to compile.
  for (const fe::HeurMode_t mode : {fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}) {
    const std::string reason = state->query(mode, properties, workspace_limit);
    if (reason.empty()) return std::unique_ptr<ConvolutionGraph>(new ConvolutionGraph(std::move(state)));
    if (refusal != nullptr) *refusal = reason;
  }
  return nullptr;
}

const GraphDescription& ConvolutionGraph::description() const {
  return state_->description;
}

int ConvolutionGraph::plan_count() const {
  return static_cast<int>(state_->plans.size());
}

const std::string& ConvolutionGraph::plan_name(int plan) const {
  return state_->plans[plan].name;
}

bool ConvolutionGraph::compiles(int plan) const {
  return state_->plans[plan].compiles;
}

bool ConvolutionGraph::build(int plan, std::string* reason) {
  State::Plan& entry = state_->plans[plan];
  if (entry.built) return true;
  const fe::error_t error = state_->graph->build_plan_at_index(entry.index);
  entry.built = error.is_good();
  if (!entry.built && reason != nullptr) *reason = error.err_msg;
  return entry.built;
}

std::size_t ConvolutionGraph::workspace_bytes(int plan) const {
  std::int64_t bytes = 0;
  check(state_->graph->get_workspace_size_plan_at_index(state_->plans[plan].index, bytes), state_->text);
  return static_cast<std::size_t>(bytes);
}

void ConvolutionGraph::launch(int plan, const CudnnHandle& handle, const ConvolutionArguments& arguments,
                              cudaStream_t stream) {
  std::unordered_map<std::int64_t, void*> pointers{{kSource, const_cast<void*>(arguments.source)},
                                                   {kWeights, const_cast<void*>(arguments.weights)},
                                                   {kDestination, arguments.destination}};
  if (arguments.bias != nullptr) pointers.emplace(kBias, const_cast<void*>(arguments.bias));
  if (arguments.mask_out != nullptr) pointers.emplace(kMaskOut, arguments.mask_out);
  if (arguments.mask_in != nullptr) pointers.emplace(kMaskIn, const_cast<void*>(arguments.mask_in));
  check(fe::detail::set_stream(handle.get(), stream), state_->text);
  check(state_->graph->execute_plan_at_index(handle.get(), pointers, arguments.workspace,
                                             state_->plans[plan].index),
        state_->text);
}

}  // namespace filterscope::cuda
