#include "block.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace filterscope::emulation {

namespace {

constexpr std::size_t kCommonSharedBytes = 99 * 1024;  // The most that a block of sm_86 and sm_89 may have.
constexpr std::size_t kStaticSharedBytes = 48 * 1024;
constexpr std::size_t kSharedAlignment = 1024;
constexpr std::size_t kChunkBytes = 16;

std::size_t page_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}
std::size_t mapped_bytes() {
  return kStackBytes + page_bytes();
}

struct StackAllocator {
  Stacks* stacks;
  boost::context::stack_context allocate() { return stacks->allocate(); }
  void deallocate(boost::context::stack_context& stack) { stacks->deallocate(stack); }
};

// Thrown in waiting threads after another one has failed.
struct Abandoned {};

// AddressSanitizer must be notified of every switch of stacks.
#if defined(__SANITIZE_ADDRESS__)
void start_switch(void** keep, const void* bottom, std::size_t size) {
  __sanitizer_start_switch_fiber(keep, bottom, size);
}
void finish_switch(void* kept, const void** bottom, std::size_t* size) {
  __sanitizer_finish_switch_fiber(kept, bottom, size);
}
#else
void start_switch(void**, const void*, std::size_t) {}
void finish_switch(void*, const void**, std::size_t*) {}
#endif

}  // namespace

Stacks::~Stacks() {
  for (void* memory : free_) munmap(memory, mapped_bytes());
}

boost::context::stack_context Stacks::allocate() {
  void* memory = nullptr;
  if (free_.empty()) {
    memory = mmap(nullptr, mapped_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, page_bytes(), PROT_NONE);
  } else {
    memory = free_.back();
    free_.pop_back();
  }
  boost::context::stack_context stack;
  stack.size = kStackBytes;
  stack.sp = static_cast<std::byte*>(memory) + mapped_bytes();
  newest_ = static_cast<std::byte*>(memory) + page_bytes();
  return stack;
}

void Stacks::deallocate(const boost::context::stack_context& stack) {
  free_.push_back(static_cast<std::byte*>(stack.sp) - mapped_bytes());
}

Block::Block(const char* name, std::size_t dynamic_bytes, const std::function<void()>& kernel, Stacks& stacks,
             Order order)
    : name_(name),
      kernel_(kernel),
      stacks_(stacks),
      order_(order),
      dynamic_bytes_(dynamic_bytes),
      shared_(kSharedBytes + kSharedAlignment) {
  auto address = reinterpret_cast<std::uintptr_t>(shared_.data());
  address = (address + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
  shared_begin_ = reinterpret_cast<std::byte*>(address);
}

// After a failure, other threads still wait. They leave the kernel by an exception; destroying their fibers
// would do the same, but without notifying the sanitizer.
Block::~Block() {
  abandoned_ = true;
  for (unsigned i = 0; i < threads_.size(); ++i) {
    if (threads_[i].fiber && threads_[i].state != Thread::State::done) resume(i);
  }
}

void Block::run() {
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
  // The first warp in this order that can run does so, as far as it gets: so no warp profits by chance from
  // work that it should have waited for.
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
    fail("more shared memory than a block may have on some devices that could run the kernel");
}

void Block::block_barrier() {
  thread().state = Thread::State::at_block_barrier;
  yield();
}

const Deposit* Block::exchange(const char* kind, const Deposit& own) {
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
    thread().state = Thread::State::at_warp_operation;
    yield();
  } else {
    warp.arrived = 0;
    ++warp.generation;
    const unsigned first = running_ / kLanes * kLanes;
    for (unsigned i = first; i < first + kLanes; ++i) threads_[i].state = Thread::State::ready;
  }
  return deposits;
}

void Block::mbarrier_init(void* barrier, int arrivals) {
  check_shared(barrier, 8);
  if (arrivals < 1) fail("an mbarrier for no arrivals");
  if (!mbarriers_.emplace(barrier, MBarrier{arrivals, arrivals}).second)
    fail("an mbarrier initialised twice");
}

MBarrier& Block::mbarrier(void* barrier) {
  const auto found = mbarriers_.find(barrier);
  if (found == mbarriers_.end()) fail("an mbarrier that was not initialised");
  return found->second;
}

void Block::arrive(MBarrier& barrier, int expected_bytes) {
  if (barrier.missing == 0) fail("more threads arrive on an mbarrier than it was initialised for");
  barrier.bytes += expected_bytes;
  --barrier.missing;
  if (!end_phase_if_over(barrier)) return;
  // Threads that waited for this may come first.
  phase_ended_ = true;
  yield();
}

void Block::wait(MBarrier& barrier, int parity) {
  while (barrier.parity == parity) {
    thread().state = Thread::State::at_mbarrier;
    yield();
  }
}

void Block::start_copy(const BoxCopy& copy) {
  use_hopper();
  check_shared(copy.shared, kBoxRowBytes);
  const std::size_t bytes = copy.map.box_rows * kBoxRowBytes;
  if (copy.shared + bytes > shared_begin_ + shared_used_) fail("a box beyond the end of shared memory");
  std::memset(copy.shared, 0xff, bytes);
  copies_.push_back(copy);
}

void* Block::shared_memory(const void* tag, std::size_t bytes) {
  const auto known = arrays_.find(tag);
  if (known != arrays_.end()) return known->second;
  shared_used_ = (shared_used_ + 15) / 16 * 16;
  std::byte* const memory = shared_begin_ + shared_used_;
  shared_used_ += bytes;
  if (shared_used_ - dynamic_bytes_ > kStaticSharedBytes) fail("more than 48 KiB of static shared memory");
  if (shared_used_ > kSharedBytes) fail("more shared memory than a block may have");
  std::memset(memory, 0xff, bytes);
  arrays_.emplace(tag, memory);
  return memory;
}

void Block::fail(const std::string& what) const {
  const uint3 at = threads_[running_].index;
  throw Error(std::string("kernel ") + name_ + ", block (" + std::to_string(blockIdx.x) + ", " +
              std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + "), thread (" +
              std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) +
              "): " + what);
}

std::vector<unsigned> Block::in_order(unsigned count) const {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (order_ == Order::descending) std::ranges::reverse(order);
  if (order_ == Order::shuffled) {
    std::mt19937 generator(blockIdx.x + 7919 * blockIdx.y);
    std::ranges::shuffle(order, generator);
  }
  return order;
}

bool Block::run_ready_lanes(unsigned warp, const std::vector<unsigned>& lane_order) {
  bool any = false;
  for (const unsigned lane : lane_order) {
    const unsigned i = warp * kLanes + lane;
    if (i >= threads_.size() || threads_[i].state != Thread::State::ready) continue;
    any = true;
    resume(i);
    if (failure_) std::rethrow_exception(failure_);
    if (phase_ended_) break;  // The warp's other lanes must not overtake those that waited.
  }
  return any;
}

void Block::resume(unsigned index) {
  running_ = index;
  Thread& next = threads_[index];
  threadIdx = next.index;
  if (!next.fiber && next.state == Thread::State::ready) {
    next.fiber = boost::context::fiber(std::allocator_arg, StackAllocator{&stacks_},
                                       [this](boost::context::fiber&& scheduler) {
                                         finish_switch(nullptr, &scheduler_bottom_, &scheduler_size_);
                                         scheduler_ = std::move(scheduler);
                                         run_thread();
                                         start_switch(nullptr, scheduler_bottom_, scheduler_size_);
                                         return std::move(scheduler_);
                                       });
    next.stack_bottom = stacks_.newest();
  }
  start_switch(&scheduler_fake_, next.stack_bottom, kStackBytes);
  next.fiber = std::move(next.fiber).resume();
  finish_switch(scheduler_fake_, nullptr, nullptr);
}

void Block::run_thread() {
  try {
    kernel_();
    if (!thread().open_group.empty()) fail("left copies of cp.async uncommitted");
    if (std::ranges::any_of(thread().groups, [](const auto& group) { return !group.empty(); }))
      fail("left copies of cp.async without waiting for them");
    if (!thread().open_products.empty() || !thread().product_groups.empty())
      fail("left products of a warpgroup without waiting for them");
  } catch (const boost::context::detail::forced_unwind&) {
    throw;
  } catch (const Abandoned&) {
  } catch (...) {
    failure_ = std::current_exception();
  }
  thread().state = Thread::State::done;
  ++finished_;
}

void Block::yield() {
  const unsigned self = running_;
  start_switch(&threads_[self].fake_stack, scheduler_bottom_, scheduler_size_);
  scheduler_ = std::move(scheduler_).resume();
  finish_switch(threads_[self].fake_stack, &scheduler_bottom_, &scheduler_size_);
  if (abandoned_) throw Abandoned();
}

bool Block::end_phase_if_over(MBarrier& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return false;
  barrier.missing = barrier.arrivals;
  barrier.parity ^= 1;
  // Waiting threads check again.
  for (Thread& thread : threads_) {
    if (thread.state == Thread::State::at_mbarrier) thread.state = Thread::State::ready;
  }
  return true;
}

bool Block::finish_a_copy() {
  if (copies_.empty()) return false;
  const std::size_t which = order_ == Order::ascending    ? 0
                            : order_ == Order::descending ? copies_.size() - 1
                                                          : copy_order_() % copies_.size();
  const BoxCopy copy = copies_[which];
  copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(which));
  for (int i = 0; i < copy.map.box_rows; ++i) {
    std::byte* const to = copy.shared + i * kBoxRowBytes;
    const std::int64_t row =
        copy.map.group_rows == 0 ? copy.row + i : copy.row + i / 2 * copy.map.group_rows + i % 2;
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

void Block::release_barrier() {
  int waiting = 0;
  int gone = 0;
  for (unsigned i = 0; i < threads_.size(); ++i) {
    running_ = i;
    if (threads_[i].state == Thread::State::at_mbarrier) fail("waits on an mbarrier whose phase never ends");
    if (threads_[i].state == Thread::State::at_warp_operation) {
      fail(std::string("waits in ") + warps_[i / kLanes].kind + " for lanes that never come");
    }
    (threads_[i].state == Thread::State::done ? gone : waiting) += 1;
  }
  if (gone > 0)
    fail(std::to_string(waiting) + " threads wait at a barrier that others left the kernel without");
  for (Thread& thread : threads_) thread.state = Thread::State::ready;
}

}  // namespace filterscope::emulation
