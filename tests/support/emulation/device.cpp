#include "device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/stack_context.hpp>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <utility>

#include "runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

constinit thread_local uint3 threadIdx;
constinit thread_local uint3 blockIdx;
constinit thread_local dim3 blockDim;
constinit thread_local dim3 gridDim;

float __half2float(__half value) {
  const std::uint32_t sign = std::uint32_t{value.bits} >> 15 << 31;
  const std::uint32_t exponent = value.bits >> 10 & 31u;
  const std::uint32_t mantissa = value.bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

__half __float2half_rn(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 31 << 15);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return {static_cast<std::uint16_t>(sign | 0x7fffu)};
  if (magnitude >= 65520.f) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // Rounds beyond 65504.
  // The spacing of binary16 around the value; below 2^-14 it stays that of the subnormals.
  const int exponent = magnitude < 0x1p-14f ? -14 : std::ilogb(magnitude);
  const float in_units = std::nearbyint(std::ldexp(magnitude, 10 - exponent));  // Ties to even; exact.
  const auto units = static_cast<std::uint32_t>(in_units);                      // At most 2048.
  const std::uint32_t biased =
      units < 1024 ? units : units + (static_cast<std::uint32_t>(exponent + 14) << 10);
  return {static_cast<std::uint16_t>(sign | biased)};
}

__nv_bfloat16 __float2bfloat16_rn(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

namespace filterscope::emulation {

namespace {

namespace context = boost::context;

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kSharedBytes = 227 * 1024;       // The most that a block of sm_90 may have.
constexpr std::size_t kCommonSharedBytes = 99 * 1024;  // That, on sm_86 and sm_89.
constexpr std::size_t kUnaskedSharedBytes = 48 * 1024;
constexpr std::size_t kSharedAlignment = 1024;
constexpr std::size_t kBoxRowBytes = 128;
constexpr std::size_t kChunkBytes = 16;

Order g_order = Order::ascending;
long g_ldmatrix_bank_conflicts = 0;

// Stacks with a guard page below, kept for the next block.
class Stacks {
 public:
  ~Stacks() {
    for (void* memory : free_) munmap(memory, bytes());
  }
  context::stack_context allocate() {
    void* memory = nullptr;
    if (free_.empty()) {
      memory = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
      mprotect(memory, page(), PROT_NONE);
    } else {
      memory = free_.back();
      free_.pop_back();
    }
    context::stack_context stack;
    stack.size = kStackBytes;
    stack.sp = static_cast<std::byte*>(memory) + bytes();
    newest_ = static_cast<std::byte*>(memory) + page();
    return stack;
  }
  const void* newest() const { return newest_; }
  void deallocate(const context::stack_context& stack) {
    free_.push_back(static_cast<std::byte*>(stack.sp) - bytes());
  }

 private:
  static std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  static std::size_t bytes() { return kStackBytes + page(); }
  std::vector<void*> free_;
  const void* newest_ = nullptr;  // Bottom of the stack given out last.
};

struct StackAllocator {
  Stacks* stacks;
  context::stack_context allocate() { return stacks->allocate(); }
  void deallocate(context::stack_context& stack) { stacks->deallocate(stack); }
};

enum class State { ready, at_block_barrier, at_warp_operation, at_mbarrier, done };

struct Copy {
  void* shared;
  const void* global;  // Null: zeros.
  std::size_t bytes;
};

struct MBarrier {
  int arrivals = 0;  // That make a phase.
  int missing = 0;   // Of the phase that goes on.
  long bytes = 0;    // Announced and not there yet.
  int parity = 0;    // Of the phase that goes on.
};

// A box on its way to shared memory.
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
// What products that are not done add to, while the thread's own sums are poisoned.
struct PendingSums {
  float* sums;
  std::vector<float> values;
  int products;
};

struct Thread {
  context::fiber fiber;
  uint3 index{};
  State state = State::ready;
  std::vector<Copy> open_group;
  std::vector<std::vector<Copy>> groups;  // Committed, oldest first.
  bool wgmma_fenced = false;
  std::vector<WarpgroupProduct> open_products;
  std::vector<std::vector<WarpgroupProduct>> product_groups;  // Committed, oldest first.
  std::vector<PendingSums> pending_sums;
  void* fake_stack = nullptr;  // AddressSanitizer's.
  const void* stack_bottom = nullptr;
};

// Thrown in threads that wait when another one has failed.
struct Abandoned {};

struct Warp {
  const char* kind = nullptr;
  int lanes = 0;  // That exist.
  int arrived = 0;
  // Two sets: a lane may still read one while another is already in the next operation.
  unsigned generation = 0;
  Deposit deposits[2][kLanes];
};

class Block {
 public:
  Block(const char* name, std::size_t dynamic_bytes, const std::function<void()>& kernel, Stacks& stacks)
      : name_(name),
        kernel_(kernel),
        stacks_(stacks),
        dynamic_bytes_(dynamic_bytes),
        shared_(kSharedBytes + kSharedAlignment) {
    auto address = reinterpret_cast<std::uintptr_t>(shared_.data());
    address = (address + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
    shared_begin_ = reinterpret_cast<std::byte*>(address);
  }

  // After a failure threads still wait. They leave the kernel by an exception; destroying their fibers would
  // do the same, but unknown to the sanitizer.
  ~Block() {
    abandoned_ = true;
    for (unsigned i = 0; i < threads_.size(); ++i) {
      if (threads_[i].fiber && threads_[i].state != State::done) resume(i);
    }
  }

  void run() {
    std::memset(shared_begin_, 0xff, dynamic_bytes_);
    shared_used_ = dynamic_bytes_;
    arrays_.clear();
    mbarriers_.clear();
    copies_.clear();
    finished_ = 0;
    const unsigned count = blockDim.x * blockDim.y * blockDim.z;
    threads_ = std::vector<Thread>(count);
    warps_ = std::vector<Warp>((count + kLanes - 1) / kLanes);
    for (unsigned i = 0; i < count; ++i) {
      threads_[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
      ++warps_[i / kLanes].lanes;
    }
    // Of the warps that can run it is always the first in this order that does, as far as it comes: nobody
    // finds done by chance what it should have waited for.
    const std::vector<unsigned> warp_order = in_order(static_cast<unsigned>(warps_.size()));
    const std::vector<unsigned> lane_order = in_order(kLanes);
    while (finished_ < count) {
      const bool progressed = std::ranges::any_of(warp_order, [&](unsigned warp) {
        bool ran = false;
        phase_ended_ = false;
        while (!phase_ended_ && run_ready_lanes(warp, lane_order)) ran = true;
        return ran;
      });
      if (!progressed && !finish_a_copy()) release_barrier();
    }
    if (!copies_.empty()) fail("the block ended before its copies");
    if (shared_used_ > kCommonSharedBytes && !hopper_)
      fail("more shared memory than a block may have on some devices, and nothing that those lack");
  }

  /// The kernel uses what only sm_90 has.
  void use_hopper() { hopper_ = true; }

  void block_barrier() {
    thread().state = State::at_block_barrier;
    yield();
  }

  const Deposit* exchange(const char* kind, const Deposit& own) {
    Warp& warp = warps_[running_ / kLanes];
    if (warp.lanes != kLanes) fail("a warp operation in a warp of fewer than 32 threads");
    if (warp.arrived == 0) {
      warp.kind = kind;
    } else if (std::strcmp(warp.kind, kind) != 0) {
      fail(std::string("a warp in two operations at once: ") + warp.kind + " and " + kind);
    }
    Deposit* const deposits = warp.deposits[warp.generation % 2];
    deposits[running_ % kLanes] = own;
    if (++warp.arrived < kLanes) {
      thread().state = State::at_warp_operation;
      yield();
    } else {
      warp.arrived = 0;
      ++warp.generation;
      const unsigned first = running_ / kLanes * kLanes;
      for (unsigned i = first; i < first + kLanes; ++i) threads_[i].state = State::ready;
    }
    return deposits;
  }

  void mbarrier_init(void* barrier, int arrivals) {
    check_shared(barrier, 8);
    if (arrivals < 1) fail("an mbarrier for no arrivals");
    if (!mbarriers_.emplace(barrier, MBarrier{arrivals, arrivals}).second)
      fail("an mbarrier initialised twice");
  }
  MBarrier& mbarrier(void* barrier) {
    const auto found = mbarriers_.find(barrier);
    if (found == mbarriers_.end()) fail("an mbarrier that was not initialised");
    return found->second;
  }
  void arrive(MBarrier& barrier, int expected_bytes) {
    if (barrier.missing == 0) fail("more threads arrive on an mbarrier than it was initialised for");
    barrier.bytes += expected_bytes;
    --barrier.missing;
    if (!end_phase_if_over(barrier)) return;
    // Whoever waited for that may come first.
    phase_ended_ = true;
    yield();
  }
  void wait(MBarrier& barrier, int parity) {
    while (barrier.parity == parity) {
      thread().state = State::at_mbarrier;
      yield();
    }
  }
  void start_copy(const BoxCopy& copy) {
    use_hopper();
    check_shared(copy.shared, kBoxRowBytes);
    const std::size_t bytes = copy.map.box_rows * kBoxRowBytes;
    if (copy.shared + bytes > shared_begin_ + shared_used_) fail("a box beyond the end of shared memory");
    std::memset(copy.shared, 0xff, bytes);
    copies_.push_back(copy);
  }
  std::uint64_t shared_address(const void* address) const {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - shared_begin_);
  }
  // Element `k` of column `column` that a descriptor of a matrix with swizzled rows of 128 bytes stands for.
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

  int lane() const { return static_cast<int>(running_ % kLanes); }
  Thread& thread() { return threads_[running_]; }

  void* shared_memory(const void* tag, std::size_t bytes) {
    const auto known = arrays_.find(tag);
    if (known != arrays_.end()) return known->second;
    shared_used_ = (shared_used_ + 15) / 16 * 16;
    std::byte* const memory = shared_begin_ + shared_used_;
    shared_used_ += bytes;
    if (shared_used_ - dynamic_bytes_ > kUnaskedSharedBytes) fail("more than 48 KiB of static shared memory");
    if (shared_used_ > kSharedBytes) fail("more shared memory than a block may have");
    std::memset(memory, 0xff, bytes);
    arrays_.emplace(tag, memory);
    return memory;
  }
  void* dynamic_shared_memory() { return shared_begin_; }
  std::size_t dynamic_shared_bytes() const { return dynamic_bytes_; }
  void check_shared(const void* address, std::size_t bytes) const {
    const auto* const first = static_cast<const std::byte*>(address);
    if (first < shared_begin_ || first + bytes > shared_begin_ + shared_used_)
      fail("an address outside shared memory");
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) fail("a misaligned address in shared memory");
  }

  [[noreturn]] void fail(const std::string& what) const {
    const uint3 at = threads_[running_].index;
    throw Error(std::string("kernel ") + name_ + ", block (" + std::to_string(blockIdx.x) + ", " +
                std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + "), thread (" +
                std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) +
                "): " + what);
  }

 private:
  static std::vector<unsigned> in_order(unsigned count) {
    std::vector<unsigned> order(count);
    std::iota(order.begin(), order.end(), 0u);
    if (g_order == Order::descending) std::ranges::reverse(order);
    if (g_order == Order::shuffled) {
      std::mt19937 generator(blockIdx.x + 7919 * blockIdx.y);
      std::ranges::shuffle(order, generator);
    }
    return order;
  }

  // Whether there were any.
  bool run_ready_lanes(unsigned warp, const std::vector<unsigned>& lane_order) {
    bool any = false;
    for (const unsigned lane : lane_order) {
      const unsigned i = warp * kLanes + lane;
      if (i >= threads_.size() || threads_[i].state != State::ready) continue;
      any = true;
      resume(i);
      if (failure_) std::rethrow_exception(failure_);
      if (phase_ended_) break;  // The warp's other lanes are not ahead of those who waited.
    }
    return any;
  }

  void resume(unsigned index) {
    running_ = index;
    Thread& next = threads_[index];
    threadIdx = next.index;
    if (!next.fiber && next.state == State::ready) {
      next.fiber =
          context::fiber(std::allocator_arg, StackAllocator{&stacks_}, [this](context::fiber&& scheduler) {
            finish_switch(nullptr, &scheduler_bottom_, &scheduler_size_);
            scheduler_ = std::move(scheduler);
            try {
              kernel_();
              if (!thread().open_group.empty()) fail("left copies of cp.async uncommitted");
              if (std::ranges::any_of(thread().groups, [](const auto& group) { return !group.empty(); }))
                fail("left copies of cp.async without waiting for them");
              if (!thread().open_products.empty() || !thread().product_groups.empty())
                fail("left products of a warpgroup without waiting for them");
            } catch (const context::detail::forced_unwind&) {
              throw;
            } catch (const Abandoned&) {
            } catch (...) {
              failure_ = std::current_exception();
            }
            thread().state = State::done;
            ++finished_;
            start_switch(nullptr, scheduler_bottom_, scheduler_size_);
            return std::move(scheduler_);
          });
      next.stack_bottom = stacks_.newest();
    }
    start_switch(&scheduler_fake_, next.stack_bottom, kStackBytes);
    next.fiber = std::move(next.fiber).resume();
    finish_switch(scheduler_fake_, nullptr, nullptr);
  }

  void yield() {
    const unsigned self = running_;
    start_switch(&threads_[self].fake_stack, scheduler_bottom_, scheduler_size_);
    scheduler_ = std::move(scheduler_).resume();
    finish_switch(threads_[self].fake_stack, &scheduler_bottom_, &scheduler_size_);
    if (abandoned_) throw Abandoned();
  }

  bool end_phase_if_over(MBarrier& barrier) {
    if (barrier.missing > 0 || barrier.bytes != 0) return false;
    barrier.missing = barrier.arrivals;
    barrier.parity ^= 1;
    // They look again.
    for (Thread& thread : threads_) {
      if (thread.state == State::at_mbarrier) thread.state = State::ready;
    }
    return true;
  }

  // Copies overtake each other as they like. Whether there was one.
  bool finish_a_copy() {
    if (copies_.empty()) return false;
    const std::size_t which = g_order == Order::ascending    ? 0
                              : g_order == Order::descending ? copies_.size() - 1
                                                             : copy_order_() % copies_.size();
    const BoxCopy copy = copies_[which];
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(which));
    for (int i = 0; i < copy.map.box_rows; ++i) {
      std::byte* const to = copy.shared + i * kBoxRowBytes;
      const std::int64_t row = copy.map.group_rows == 0 ? copy.row + i
                                                        : copy.row + i / 2 * copy.map.group_rows + i % 2;
      const std::uint64_t flip = shared_address(to) / kBoxRowBytes % 8;
      for (std::uint64_t chunk = 0; chunk < kBoxRowBytes / kChunkBytes; ++chunk) {
        std::byte* const place = to + (chunk ^ flip) * kChunkBytes;
        const std::int64_t column = copy.column + static_cast<std::int64_t>(chunk) * (kChunkBytes / 2);
        if (row < 0 || row >= copy.map.rows || column < 0 || column >= copy.map.columns) {
          std::memset(place, 0, kChunkBytes);
        } else {
          std::memcpy(place, copy.map.data + row * copy.map.columns + column, kChunkBytes);
        }
      }
    }
    copy.barrier->bytes -= static_cast<long>(copy.map.box_rows) * static_cast<long>(kBoxRowBytes);
    end_phase_if_over(*copy.barrier);
    return true;
  }

  // Nobody can run: all who are left must be at the barrier.
  void release_barrier() {
    int waiting = 0;
    int gone = 0;
    for (unsigned i = 0; i < threads_.size(); ++i) {
      running_ = i;
      if (threads_[i].state == State::at_mbarrier) fail("waits on an mbarrier whose phase never ends");
      if (threads_[i].state == State::at_warp_operation) {
        fail(std::string("waits in ") + warps_[i / kLanes].kind + " for lanes that never come");
      }
      (threads_[i].state == State::done ? gone : waiting) += 1;
    }
    if (gone > 0)
      fail(std::to_string(waiting) + " threads wait at a barrier that others left the kernel without");
    for (Thread& thread : threads_) thread.state = State::ready;
  }

  // AddressSanitizer is told of every change of stack.
#if defined(__SANITIZE_ADDRESS__)
  static void start_switch(void** keep, const void* bottom, std::size_t size) {
    __sanitizer_start_switch_fiber(keep, bottom, size);
  }
  static void finish_switch(void* kept, const void** bottom, std::size_t* size) {
    __sanitizer_finish_switch_fiber(kept, bottom, size);
  }
#else
  static void start_switch(void**, const void*, std::size_t) {}
  static void finish_switch(void*, const void**, std::size_t*) {}
#endif

  const char* name_;
  const std::function<void()>& kernel_;
  Stacks& stacks_;
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
  context::fiber scheduler_;
  const void* scheduler_bottom_ = nullptr;
  std::size_t scheduler_size_ = 0;
  void* scheduler_fake_ = nullptr;
  std::exception_ptr failure_;
  bool abandoned_ = false;
};

thread_local Block* t_block = nullptr;

Block& block() {
  if (t_block == nullptr) throw Error("an operation of device code outside a kernel");
  return *t_block;
}

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
    Block runner(name, dynamic_shared_bytes, kernel, stacks);
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

void ldmatrix(std::uint32_t (&fragment)[4], const void* row, bool transposed) {
  block().check_shared(row, 16);
  struct Row {
    const void* address;
    std::uint16_t elements[8];
  } own{row, {}};
  std::memcpy(own.elements, row, sizeof(own.elements));
  const Deposit* const warp = exchange(transposed ? "ldmatrix.trans" : "ldmatrix", deposit(own));
  if (lane() == 0) {
    constexpr std::uintptr_t kBankBytes = 128;  // Of all banks.
    for (int i = 0; i < kLanes; ++i) {
      for (int j = i / 8 * 8; j < i; ++j) {
        const auto first = reinterpret_cast<std::uintptr_t>(value_of<Row>(warp[i]).address);
        const auto second = reinterpret_cast<std::uintptr_t>(value_of<Row>(warp[j]).address);
        if (first != second && first % kBankBytes == second % kBankBytes) ++g_ldmatrix_bank_conflicts;
      }
    }
  }
  const auto element = [&](int matrix, int matrix_row, int column) {
    return std::uint32_t{value_of<Row>(warp[8 * matrix + matrix_row]).elements[column]};
  };
  const int outer = lane() / 4;
  const int pair = lane() % 4 * 2;
  for (int matrix = 0; matrix < 4; ++matrix) {
    fragment[matrix] = transposed ? element(matrix, pair, outer) | element(matrix, pair + 1, outer) << 16
                                  : element(matrix, outer, pair) | element(matrix, outer, pair + 1) << 16;
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

void wgmma_fence() {
  block().use_hopper();
  block().thread().wgmma_fenced = true;
}

void wgmma_m64k16(float* sums, int sums_count, const std::uint32_t* a, std::uint64_t b, bool add,
                  float (*to_float)(std::uint16_t bits)) {
  Thread& thread = block().thread();
  if (!thread.wgmma_fenced) fail("a product of a warpgroup without a fence before");
  thread.open_products.push_back({sums, sums_count, a, b, add, to_float});
  const auto pending = std::ranges::find(thread.pending_sums, sums, &PendingSums::sums);
  if (pending != thread.pending_sums.end()) {
    ++pending->products;
  } else {
    thread.pending_sums.push_back({sums, std::vector<float>(sums, sums + sums_count), 1});
    std::fill_n(sums, sums_count, std::numeric_limits<float>::quiet_NaN());
  }
}

void wgmma_commit() {
  Thread& thread = block().thread();
  thread.wgmma_fenced = false;
  thread.product_groups.push_back(std::exchange(thread.open_products, {}));
}

void wgmma_wait(int pending) {
  Thread& thread = block().thread();
  while (thread.product_groups.size() > static_cast<std::size_t>(pending)) {
    for (const WarpgroupProduct& product : thread.product_groups.front()) {
      std::array<std::uint32_t, 4> own{};
      std::copy_n(product.a, own.size(), own.begin());
      const Deposit* const warp = exchange("wgmma", deposit(own));
      const auto a = [&](int row_half, int k) {
        const int register_index = row_half + k / 8 * 2;
        const std::uint32_t word = warp[lane() / 4 * 4 + k % 8 / 2].words[register_index];
        return product.to_float(static_cast<std::uint16_t>(word >> 16 * (k % 2)));
      };
      float rows[2][16];
      for (int k = 0; k < 16; ++k) {
        for (int half = 0; half < 2; ++half) rows[half][k] = a(half, k);
      }
      const auto pending_sums = std::ranges::find(thread.pending_sums, product.sums, &PendingSums::sums);
      if (!product.add) std::ranges::fill(pending_sums->values, 0.f);
      for (int i = 0; i < product.sums_count; i += 4) {
        for (int column = 0; column < 2; ++column) {
          for (int k = 0; k < 16; ++k) {
            const float b =
                product.to_float(block().matrix_element(product.b, i / 4 * 8 + lane() % 4 * 2 + column, k));
            for (int half = 0; half < 2; ++half) {
              pending_sums->values[static_cast<std::size_t>(i + 2 * half + column)] += rows[half][k] * b;
            }
          }
        }
      }
      if (--pending_sums->products == 0) {
        std::ranges::copy(pending_sums->values, product.sums);
        thread.pending_sums.erase(pending_sums);
      }
    }
    thread.product_groups.erase(thread.product_groups.begin());
  }
  // Lanes wait together: none goes on before all have read what they multiply.
  exchange("wgmma.wait", {});
}

long ldmatrix_bank_conflicts() {
  return g_ldmatrix_bank_conflicts;
}

}  // namespace filterscope::emulation
