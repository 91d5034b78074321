#include "shim.h"

#include <ucontext.h>

#include <cstdio>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBER_START(saved, stack, size) __sanitizer_start_switch_fiber(saved, stack, size)
#define FIBER_FINISH(saved, stack, size) __sanitizer_finish_switch_fiber(saved, stack, size)
#else
#define FIBER_START(saved, stack, size) (void)0
#define FIBER_FINISH(saved, stack, size) (void)0
#endif

namespace shim {

Place place;
cudaError_t lastError = cudaSuccess;
long held = 0;
uint8_t* dynamicShared = nullptr;

namespace {

constexpr size_t kStackBytes = 32 << 10;
constexpr int kMostThreads = 1024;
constexpr int kLanes = 32;
constexpr int kMostBrought = 6;

enum State { kReady, kAtWarp, kAtBlock, kDone };

struct Fiber {
  ucontext_t context;
  void* stack = nullptr;
  void* fake = nullptr;  // of AddressSanitizer
  State state = kDone;
  /** Two words in turn: a lane may bring its next one while others still read this one. */
  uint64_t words[2] = {};
  uint32_t brought[2][kMostBrought] = {};
  unsigned turn = 0;
};

Fiber fibers[kMostThreads];
ucontext_t scheduler;
[[maybe_unused]] const void* schedulerStack = nullptr;
[[maybe_unused]] size_t schedulerBytes = 0;
Fiber* running = nullptr;
void (*threadBody)(void*) = nullptr;
void* threadData = nullptr;

void stop(const char* why) {
  std::fprintf(stderr, "CUDA shim: %s in block (%u, %u)\n", why, place.block.x, place.block.y);
  std::exit(3);
}

/** Back to the scheduler until the state is kReady again. */
void yield(State state) {
  Fiber* self = running;
  self->state = state;
  FIBER_START(state == kDone ? nullptr : &self->fake, schedulerStack, schedulerBytes);
  swapcontext(&self->context, &scheduler);
  FIBER_FINISH(self->fake, &schedulerStack, &schedulerBytes);
}

void enter() {
  FIBER_FINISH(nullptr, &schedulerStack, &schedulerBytes);
  threadBody(threadData);
  yield(kDone);
}

void resume(Fiber& fiber, int thread) {
  [[maybe_unused]] void* fake = nullptr;
  running = &fiber;
  place.thread = Dim(static_cast<unsigned>(thread), 0, 0);
  FIBER_START(&fake, fiber.stack, kStackBytes);
  swapcontext(&scheduler, &fiber.context);
  FIBER_FINISH(fake, nullptr, nullptr);
}

void create(Fiber& fiber) {
  if (!fiber.stack) fiber.stack = std::malloc(kStackBytes);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
  fiber.state = kReady;
  fiber.turn = 0;
}

bool all(int from, int to, State state) {
  for (int i = from; i < to; i++)
    if (fibers[i].state != state) return false;
  return true;
}

bool any(int from, int to, State state) {
  for (int i = from; i < to; i++)
    if (fibers[i].state == state) return true;
  return false;
}

void release(int from, int to) {
  for (int i = from; i < to; i++) fibers[i].state = kReady;
}

/** Every fiber has come to a stop. Lets those go on whose barrier is complete; false when all are done. */
bool goOn(int threads) {
  if (all(0, threads, kDone)) return false;
  bool isMoving = false;
  for (int warp = 0; warp < threads; warp += kLanes) {
    if (!any(warp, warp + kLanes, kAtWarp)) continue;
    if (!all(warp, warp + kLanes, kAtWarp)) stop("a warp function that not all lanes reach");
    release(warp, warp + kLanes);
    isMoving = true;
  }
  if (isMoving) return true;
  if (!all(0, threads, kAtBlock)) stop("a barrier that not all threads reach");
  release(0, threads);
  return true;
}

void runBlock(int threads) {
  for (int i = 0; i < threads; i++) create(fibers[i]);
  do {
    for (int i = 0; i < threads; i++)
      if (fibers[i].state == kReady) resume(fibers[i], i);
  } while (goOn(threads));
}

}  // namespace

void runGrid(Dim blocks, int threads, void (*body)(void*), void* data) {
  if (threads % kLanes != 0) stop("a block of no whole warps");
  threadBody = body;
  threadData = data;
  place.blocks = blocks;
  place.threads = Dim(static_cast<unsigned>(threads));
  for (unsigned y = 0; y < blocks.y; y++)
    for (unsigned x = 0; x < blocks.x; x++) {
      place.block = Dim(x, y, 0);
      runBlock(threads);
    }
}

void blockBarrier() { yield(kAtBlock); }

uint64_t exchange(uint64_t word, int lane) {
  const unsigned turn = running->turn++ % 2;
  running->words[turn] = word;
  const auto first = static_cast<int>(running - fibers) / kLanes * kLanes;
  yield(kAtWarp);
  return fibers[first + lane].words[turn];
}

unsigned ballot(bool vote) {
  const unsigned turn = running->turn++ % 2;
  running->words[turn] = vote;
  const auto first = static_cast<int>(running - fibers) / kLanes * kLanes;
  yield(kAtWarp);
  unsigned votes = 0;
  for (int lane = 0; lane < kLanes; lane++) votes |= static_cast<unsigned>(fibers[first + lane].words[turn]) << lane;
  return votes;
}

void bring(const uint32_t* words, int count) {
  const unsigned turn = running->turn++ % 2;
  std::memcpy(running->brought[turn], words, static_cast<size_t>(count) * 4);
  yield(kAtWarp);
}

const uint32_t* wordsOf(int lane) {
  return fibers[static_cast<int>(running - fibers) / kLanes * kLanes + lane].brought[(running->turn - 1) % 2];
}

}  // namespace shim
