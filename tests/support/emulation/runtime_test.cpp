// The emulated CUDA runtime: streams, events, graphs and memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/common/global.h"
#include "kernels/common/launch.h"
#include "tests/support/device.h"

namespace filterscope {
namespace {

using kernels::Global;
using kernels::launch;

class EmulatedRuntimeTest : public test::DeviceTest {};
FILTERSCOPE_DEVICE_TEST_SUITE(EmulatedRuntimeTest);

void copy(Global<const float> from, Global<float> to) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  to.store(i, from.load(i));
}

TEST_P(EmulatedRuntimeTest, LateStreamsRunWhenTheyAreWaitedFor) {
  emulation::set_lateness(emulation::Lateness::late);
  const cuda::Stream first;
  const cuda::Stream second;
  const cuda::Event written;
  const cuda::PinnedBuffer<int> source(1);
  const cuda::PinnedBuffer<int> back(1);
  const cuda::DeviceBuffer<int> memory(1);
  const auto copy = [](const auto& to, const auto& from, cudaMemcpyKind kind, cudaStream_t stream) {
    cuda::check(cudaMemcpyAsync(to.data(), from.data(), sizeof(int), kind, stream), "copying");
  };
  *source.data() = 1;
  *back.data() = 0;
  copy(memory, source, cudaMemcpyHostToDevice, first);
  // Nothing has waited for the copy, so it copies what the host writes now.
  *source.data() = 2;
  written.record(first);
  EXPECT_EQ(cudaStreamWaitEvent(second, written), cudaSuccess);
  copy(back, memory, cudaMemcpyDeviceToHost, second);
  EXPECT_EQ(*back.data(), 0);
  second.synchronise();
  EXPECT_EQ(*back.data(), 2);
  EXPECT_TRUE(written.passed());

  // A query returns false until there have been enough of them.
  *source.data() = 3;
  copy(memory, source, cudaMemcpyHostToDevice, first);
  written.record(first);
  while (!written.passed()) {
  }
  copy(back, memory, cudaMemcpyDeviceToHost, second);
  second.synchronise();
  EXPECT_EQ(*back.data(), 3);
  emulation::set_lateness(emulation::Lateness::none);
}

TEST_P(EmulatedRuntimeTest, GraphsReplayWhatWasCaptured) {
  const cuda::Stream stream;
  const auto values = test::upload(std::vector<float>(64, 3.f));
  const auto copied = test::poisoned<float>(64);
  const cuda::Graph graph = cuda::Graph::capture(stream, [&] {
    launch("copy", copy, {dim3(2), dim3(32)}, stream, values.data(), copied.data());
  });
  EXPECT_TRUE(std::isnan(test::download(copied)[0]));
  graph.launch(stream);
  EXPECT_THAT(test::download(copied), testing::Each(3.f));
}

TEST_P(EmulatedRuntimeTest, MemoryIsLimited) {
  emulation::set_memory(emulation::counters().allocated_bytes + 1000);
  EXPECT_NO_THROW(cuda::DeviceBuffer<float>(250));
  EXPECT_THROW(cuda::DeviceBuffer<float>(251), OutOfMemory);
  emulation::set_memory(std::size_t{4} << 30);
}

}  // namespace
}  // namespace filterscope
