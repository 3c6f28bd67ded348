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

/// A block of threads on the emulated device: its threads are fibers, run one after the other. It also holds
/// its shared memory, barriers and copies.
namespace filterscope::emulation {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kSharedBytes = 227 * 1024;  ///< The most that a block of sm_90 may have.
constexpr std::size_t kBoxRowBytes = 128;

/// The fibers' stacks, with a guard page below each, reused for the next block.
class Stacks {
 public:
  ~Stacks();
  boost::context::stack_context allocate();
  void deallocate(const boost::context::stack_context& stack);
  /// The bottom of the stack allocated last.
  const void* newest() const { return newest_; }

 private:
  std::vector<void*> free_;
  const void* newest_ = nullptr;
};

/// A copy by cp.async.
struct Copy {
  void* shared;
  const void* global;  ///< Null: zeros.
  std::size_t bytes;
};

struct MBarrier {
  int arrivals = 0;  ///< The arrivals that complete a phase.
  int missing = 0;   ///< Arrivals missing in the current phase.
  long bytes = 0;    ///< Bytes announced but not yet copied.
  int parity = 0;    ///< The parity of the current phase.
};

/// A box being copied to shared memory.
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
/// The accumulators of unfinished products, while those of the thread are poisoned.
struct PendingAccumulators {
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
  std::vector<PendingAccumulators> pending_accumulators;
  void* fake_stack = nullptr;  ///< AddressSanitizer's.
  const void* stack_bottom = nullptr;
};

struct Warp {
  const char* kind = nullptr;
  int lanes = 0;  ///< The number of lanes that exist.
  int arrived = 0;
  /// Two sets: a lane may still read one while another is already in the next operation.
  unsigned generation = 0;
  Deposit deposits[2][kLanes];
};

/// Runs the blocks of a launch one after the other.
class Block {
 public:
  Block(const char* name, std::size_t dynamic_bytes, const std::function<void()>& kernel, Stacks& stacks,
        Order order);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  /// Runs the block that blockIdx names.
  void run();
  [[noreturn]] void fail(const std::string& what) const;

  // For the running thread.
  Thread& thread() { return threads_[running_]; }
  int lane() const { return static_cast<int>(running_ % kLanes); }
  /// Called when the kernel uses a feature that only sm_90 has.
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
  /// Element `k` of column `column` of the matrix that `descriptor` describes: swizzled rows of 128 bytes.
  std::uint16_t matrix_element(std::uint64_t descriptor, int column, int k) const {
    const std::uint64_t start = (descriptor & 0x3fff) << 4;
    const std::uint64_t eight_columns = (descriptor >> 32 & 0x3fff) << 4;
    if (descriptor >> 62 != 1) fail("a matrix that is not in swizzled rows of 128 bytes");
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
  /// Returns whether there were any.
  bool run_ready_lanes(unsigned warp, const std::vector<unsigned>& lane_order);
  void resume(unsigned index);
  void run_thread();
  void yield();
  bool end_phase_if_over(MBarrier& barrier);
  /// Finishes any copy, since copies may overtake each other. Returns whether there was one.
  bool finish_a_copy();
  /// Called when no thread can run: all threads left must be at the barrier.
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
  bool phase_ended_ = false;  // Whether a phase has ended since the scheduler chose a warp.
  boost::context::fiber scheduler_;
  const void* scheduler_bottom_ = nullptr;
  std::size_t scheduler_size_ = 0;
  void* scheduler_fake_ = nullptr;
  std::exception_ptr failure_;
  bool abandoned_ = false;
};

/// The block of the running thread; throws an Error outside of kernels.
Block& block();

}  // namespace filterscope::emulation
