// CUDA on the CPU, for tests: the threads of a block are fibers that run one after another until a barrier or a warp
// function; blocks run one after another. Exact, and strict where a GPU is undefined: a barrier or a warp function that
// some of its threads never reach ends the program with a message. AddressSanitizer sees global and shared memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace shim {

struct Dim {
  unsigned x, y, z;
  explicit Dim(unsigned ofX = 1, unsigned ofY = 1, unsigned ofZ = 1) : x(ofX), y(ofY), z(ofZ) {}
};

/** Of the thread that runs. */
struct Place {
  Dim thread, block, blocks, threads;
};
extern Place place;

/** Runs `body` as every thread of every block. */
void runGrid(Dim blocks, int threads, void (*body)(void*), void* data);
void blockBarrier();
/** Word of lane `lane` of this warp, all lanes having brought one. */
uint64_t exchange(uint64_t word, int lane);
/** Bit of every lane of this warp. */
unsigned ballot(bool vote);
/** All lanes bring `count` words; afterwards wordsOf() has those of each, until the lane brings again twice. */
void bring(const uint32_t* words, int count);
const uint32_t* wordsOf(int lane);
/** Of the block that runs, malloc'ed to the byte. */
extern uint8_t* dynamicShared;

}  // namespace shim

#define __shared__ static
#define threadIdx (::shim::place.thread)
#define blockIdx (::shim::place.block)
#define gridDim (::shim::place.blocks)
#define blockDim (::shim::place.threads)

static inline void __syncthreads() { shim::blockBarrier(); }

template <typename T>
static inline T shimFromLane(T value, int lane) {
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  word = shim::exchange(word, lane);
  std::memcpy(&value, &word, sizeof value);
  return value;
}

template <typename T>
static inline T __shfl_sync(unsigned, T value, int lane) {
  return shimFromLane(value, lane);
}

template <typename T>
static inline T __shfl_up_sync(unsigned, T value, int step) {
  const int lane = static_cast<int>(shim::place.thread.x) % 32;
  return shimFromLane(value, lane < step ? lane : lane - step);
}

template <typename T>
static inline T __shfl_xor_sync(unsigned, T value, int mask) {
  return shimFromLane(value, static_cast<int>(shim::place.thread.x) % 32 ^ mask);
}

static inline void __syncwarp() { shim::ballot(false); }
static inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
static inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t order) {
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  uint32_t out = 0;
  for (int i = 0; i < 4; i++) out |= static_cast<uint32_t>(bytes >> 8 * (order >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
static inline unsigned __ballot_sync(unsigned, bool vote) { return shim::ballot(vote); }
static inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }

template <typename T>
static inline T atomicExch(T* at, T value) {
  const T before = *at;
  *at = value;
  return before;
}

template <typename T>
static inline T atomicMin(T* at, T value) {
  const T before = *at;
  if (value < before) *at = value;
  return before;
}

// The runtime, with the host's memory as the device's. Streams are not told apart: everything happens at once.
using dim3 = shim::Dim;
using cudaStream_t = struct ShimStream*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2 };
constexpr int CUDART_VERSION = 13000;
constexpr unsigned cudaHostAllocMapped = 2, cudaHostAllocPortable = 1;

namespace shim {
extern cudaError_t lastError;
/** Allocations that are not freed. */
extern long held;

template <typename Kernel, typename... Arguments>
void start(Kernel kernel, Dim blocks, int threads, size_t shared, cudaStream_t, Arguments... arguments) {
  // The limits of every GPU since compute capability 3.0.
  const bool isGrid = blocks.x && blocks.y && blocks.x <= 0x7fffffffu && blocks.y <= 65535;
  if (!isGrid || threads < 1 || threads > 1024 || shared > 227 << 10)
    return void(lastError = cudaErrorInvalidConfiguration);
  auto call = [&] { kernel(arguments...); };
  dynamicShared = static_cast<uint8_t*>(std::aligned_alloc(16, ((shared | 1) + 15) & ~size_t{15}));
  runGrid(blocks, threads, [](void* data) { (*static_cast<decltype(call)*>(data))(); }, &call);
  std::free(dynamicShared);
}
}  // namespace shim

static inline const char* cudaGetErrorString(cudaError_t status) { return status ? "shim error" : "no error"; }
static inline cudaError_t cudaGetLastError() {
  const cudaError_t status = shim::lastError;
  shim::lastError = cudaSuccess;
  return status;
}
static inline cudaError_t cudaMallocAsync(void** data, size_t bytes, cudaStream_t) {
  *data = std::malloc(bytes);
  shim::held += *data != nullptr;
  return *data ? cudaSuccess : cudaErrorMemoryAllocation;
}
static inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) {
  shim::held--;
  std::free(data);
  return cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
static inline cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  return cudaMallocAsync(data, bytes, nullptr);
}
static inline cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  return *device = host, cudaSuccess;
}
static inline cudaError_t cudaFreeHost(void* data) { return cudaFreeAsync(data, nullptr); }

// What machine.h has for the device; fragments as PTX describes them.
namespace shim {

void copy16(void* to, const void* from, int bytes);
static inline void commitCopies() {}
template <int kLeft>
static inline void waitCopies() {}
static inline void prefetch(const void*) {}
void loadMatrices(uint32_t (&out)[4], const void* row);
void multiplyF16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void multiplyTf32(float (&sums)[4], const float (&a)[4], float b0, float b1);
float roundTf32(float value);

}  // namespace shim
