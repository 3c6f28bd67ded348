#include "device.h"

#include <cstring>
#include <string>
#include <utility>

#include "block.h"
#include "runtime.h"

constinit thread_local uint3 threadIdx;
constinit thread_local uint3 blockIdx;
constinit thread_local dim3 blockDim;
constinit thread_local dim3 gridDim;

namespace filterscope::emulation {

namespace {

Order g_order = Order::ascending;
thread_local Block* t_block = nullptr;

void finish(const Copy& copy) {
  if (copy.global != nullptr) {
    std::memcpy(copy.shared, copy.global, copy.bytes);
  } else {
    std::memset(copy.shared, 0, copy.bytes);
  }
}

}  // namespace

void set_order(Order order) {
  g_order = order;
}

void launch(const char* name, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, cudaStream_t stream,
            std::function<void()> kernel) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024)
    throw Error(std::string("kernel ") + name + ": a block of " + std::to_string(threads) + " threads");
  if (grid.y > 65535 || grid.z > 65535)
    throw Error(std::string("kernel ") + name + ": a grid of more than 65535 blocks in y or z");
  if (dynamic_shared_bytes > kSharedBytes)
    throw Error(std::string("kernel ") + name + ": more shared memory than a block may have");
  enqueue(stream, [=, kernel = std::move(kernel)] {
    static thread_local Stacks stacks;
    gridDim = grid;
    blockDim = block;
    Block runner(name, dynamic_shared_bytes, kernel, stacks, g_order);
    t_block = &runner;
    struct Leave {
      ~Leave() { t_block = nullptr; }
    } leave;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z) {
      for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) runner.run();
      }
    }
  });
}

Block& block() {
  if (t_block == nullptr) throw Error("an operation of device code outside a kernel");
  return *t_block;
}

void fail(const std::string& what) {
  block().fail(what);
}

void fail_access(const Bounds& bounds, const void* address, std::size_t bytes) {
  const std::ptrdiff_t offset = static_cast<const std::byte*>(address) - bounds.begin;
  fail(bounds.begin == nullptr
           ? "access to global memory through a null pointer"
           : "access to " + std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                 " of an allocation of " + std::to_string(bounds.end - bounds.begin));
}

void* shared_memory(const void* tag, std::size_t bytes) {
  return block().shared_memory(tag, bytes);
}
void* dynamic_shared_memory() {
  return block().dynamic_shared_memory();
}
std::size_t dynamic_shared_bytes() {
  return block().dynamic_shared_bytes();
}
void block_barrier() {
  block().block_barrier();
}
const Deposit* exchange(const char* kind, const Deposit& own) {
  return block().exchange(kind, own);
}
int lane() {
  return block().lane();
}

void cp_async(void* shared, const void* global, std::size_t bytes, bool valid) {
  block().check_shared(shared, bytes);
  std::memset(shared, 0xff, bytes);
  block().thread().open_group.push_back({shared, valid ? global : nullptr, bytes});
}

void cp_async_commit() {
  Thread& thread = block().thread();
  thread.groups.push_back(std::exchange(thread.open_group, {}));
}

void cp_async_wait(int pending) {
  auto& groups = block().thread().groups;
  while (groups.size() > static_cast<std::size_t>(pending)) {
    for (const Copy& copy : groups.front()) finish(copy);
    groups.erase(groups.begin());
  }
}

std::uint64_t shared_address(const void* shared) {
  block().check_shared(shared, 1);
  return block().shared_address(shared);
}

void mbarrier_init(void* barrier, int arrivals) {
  block().mbarrier_init(barrier, arrivals);
}

void mbarrier_arrive(void* barrier, int expected_bytes) {
  block().arrive(block().mbarrier(barrier), expected_bytes);
}

void mbarrier_wait(void* barrier, int parity) {
  block().wait(block().mbarrier(barrier), parity);
}

void tma_load(void* shared, const TensorMap& map, int row, int column, void* barrier) {
  if (map.group_rows != 0) fail("a box of rows of a matrix whose boxes are of pairs");
  if (column % 8 != 0) fail("a box that begins in the middle of 16 bytes");
  block().start_copy({static_cast<std::byte*>(shared), map, row, column, &block().mbarrier(barrier)});
}

void tma_load_pairs(void* shared, const TensorMap& map, int row, int column, void* barrier) {
  if (map.group_rows == 0) fail("a box of pairs of a matrix whose boxes are of rows");
  if (row % 2 != 0) fail("a box that begins in the middle of a pair of rows");
  if (column % 8 != 0) fail("a box that begins in the middle of 16 bytes");
  block().start_copy({static_cast<std::byte*>(shared), map, row, column, &block().mbarrier(barrier)});
}

}  // namespace filterscope::emulation
