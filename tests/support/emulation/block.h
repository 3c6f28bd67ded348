#pragma once

#include <boost/context/fiber.hpp>
#include <boost/context/stack_context.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "device.h"

/// A block of threads on the emulated device: its threads are fibers, which it runs one after the other, and
/// its shared memory, barriers and copies are kept here.
namespace filterscope::emulation {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kSharedBytes = 227 * 1024;  ///< The most that a block of sm_90 may have.
constexpr std::size_t kBoxRowBytes = 128;

/// Stacks with a guard page below, kept for the next block.
class Stacks {
 public:
  ~Stacks();
  boost::context::stack_context allocate();
  void deallocate(const boost::context::stack_context& stack);
  /// Bottom of the stack given out last.
  const void* newest() const { return newest_; }

 private:
  std::vector<void*> free_;
  const void* newest_ = nullptr;
};

/// What cp.async copies.
struct Copy {
  void* shared;
  const void* global;  ///< Null: zeros.
  std::size_t bytes;
};

struct MBarrier {
  int arrivals = 0;  ///< That make a phase.
  int missing = 0;   ///< Of the phase that goes on.
  long bytes = 0;    ///< Announced and not there yet.
  int parity = 0;    ///< Of the phase that goes on.
};

/// A box on its way to shared memory.
struct BoxCopy {
  std::byte* shared;
  TensorMap map;
  int row;
  int column;
  MBarrier* barrier;
};

struct WarpgroupProduct {
  float* sums;
  int sums_count;
  const std::uint32_t* a;
  std::uint64_t b;
  bool add;
  float (*to_float)(std::uint16_t);
};
/// What products that are not done add to, while the thread's own sums are poisoned.
struct PendingSums {
  float* sums;
  std::vector<float> values;
  int products;
};

struct Thread {
  enum class State { ready, at_block_barrier, at_warp_operation, at_mbarrier, done };

  boost::context::fiber fiber;
  uint3 index{};
  State state = State::ready;
  std::vector<Copy> open_group;
  std::vector<std::vector<Copy>> groups;  ///< Committed, oldest first.
  bool wgmma_fenced = false;
  std::vector<WarpgroupProduct> open_products;
  std::vector<std::vector<WarpgroupProduct>> product_groups;  ///< Committed, oldest first.
  std::vector<PendingSums> pending_sums;
  void* fake_stack = nullptr;  ///< AddressSanitizer's.
  const void* stack_bottom = nullptr;
};

struct Warp {
  const char* kind = nullptr;
  int lanes = 0;  ///< That exist.
  int arrived = 0;
  /// Two sets: a lane may still read one while another is already in the next operation.
  unsigned generation = 0;
  Deposit deposits[2][kLanes];
};

/// Every block of a launch after the other.
class Block {
 public:
  Block(const char* name, std::size_t dynamic_bytes, const std::function<void()>& kernel, Stacks& stacks,
        Order order);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  /// The block that blockIdx names.
  void run();
  [[noreturn]] void fail(const std::string& what) const;

  // For the thread that runs.
  Thread& thread() { return threads_[running_]; }
  int lane() const { return static_cast<int>(running_ % kLanes); }
  /// The kernel uses what only sm_90 has.
  void use_hopper() { hopper_ = true; }
  void block_barrier();
  const Deposit* exchange(const char* kind, const Deposit& own);

  void* shared_memory(const void* tag, std::size_t bytes);
  void* dynamic_shared_memory() { return shared_begin_; }
  std::size_t dynamic_shared_bytes() const { return dynamic_bytes_; }
  void check_shared(const void* address, std::size_t bytes) const {
    const auto* const first = static_cast<const std::byte*>(address);
    if (first < shared_begin_ || first + bytes > shared_begin_ + shared_used_)
      fail("an address outside shared memory");
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) fail("a misaligned address in shared memory");
  }
  std::uint64_t shared_address(const void* address) const {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - shared_begin_);
  }
  /// Element `k` of column `column` that a descriptor of a matrix with swizzled rows of 128 bytes stands for.
  std::uint16_t matrix_element(std::uint64_t descriptor, int column, int k) const {
    const std::uint64_t start = (descriptor & 0x3fff) << 4;
    const std::uint64_t eight_columns = (descriptor >> 32 & 0x3fff) << 4;
    if (descriptor >> 62 != 1) fail("a matrix in another order than that of rows of 128 bytes, swizzled");
    if ((descriptor >> 49 & 7) != 0) fail("a matrix descriptor with a base offset");
    std::uint64_t address = start + column / 8 * eight_columns + column % 8 * kBoxRowBytes + k * 2;
    address ^= (address >> 7 & 7) << 4;
    check_shared(shared_begin_ + address, 2);
    std::uint16_t element;
    std::memcpy(&element, shared_begin_ + address, sizeof(element));
    return element;
  }

  void mbarrier_init(void* barrier, int arrivals);
  MBarrier& mbarrier(void* barrier);
  void arrive(MBarrier& barrier, int expected_bytes);
  void wait(MBarrier& barrier, int parity);
  void start_copy(const BoxCopy& copy);

 private:
  std::vector<unsigned> in_order(unsigned count) const;
  /// Whether there were any.
  bool run_ready_lanes(unsigned warp, const std::vector<unsigned>& lane_order);
  void resume(unsigned index);
  void run_thread();
  void yield();
  bool end_phase_if_over(MBarrier& barrier);
  /// Copies overtake each other as they like. Whether there was one.
  bool finish_a_copy();
  /// Nobody can run: all who are left must be at the barrier.
  void release_barrier();

  const char* name_;
  const std::function<void()>& kernel_;
  Stacks& stacks_;
  Order order_;
  std::size_t dynamic_bytes_;
  std::vector<std::byte> shared_;
  std::byte* shared_begin_ = nullptr;
  std::size_t shared_used_ = 0;
  std::map<const void*, void*> arrays_;
  std::map<const void*, MBarrier> mbarriers_;
  std::vector<BoxCopy> copies_;
  std::minstd_rand copy_order_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  unsigned running_ = 0;
  unsigned finished_ = 0;
  bool hopper_ = false;
  bool phase_ended_ = false;  // Since the scheduler chose a warp.
  boost::context::fiber scheduler_;
  const void* scheduler_bottom_ = nullptr;
  std::size_t scheduler_size_ = 0;
  void* scheduler_fake_ = nullptr;
  std::exception_ptr failure_;
  bool abandoned_ = false;
};

/// The block whose thread runs; an Error outside of kernels.
Block& block();

}  // namespace filterscope::emulation
