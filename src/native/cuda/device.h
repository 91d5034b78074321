// What the CUDA kernels stand on: words for nvcc, or for the shim of the tests, which runs the same kernels on the CPU.
#pragma once

#include <cstdint>

#include "kernels/isa.h"
#include "kernels/stack.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define SPEXPAND_DEVICE __device__ __forceinline__
#define SPEXPAND_KERNEL __global__ void
/** A kernel of blocks of so many threads, of which so many blocks are to fit on a multiprocessor at once. */
#define SPEXPAND_KERNEL_FOR(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define SPEXPAND_DYNAMIC_SHARED(name) extern __shared__ __align__(16) uint8_t name[]
#define SPEXPAND_MEMBER __device__ __forceinline__
#define SPEXPAND_UNROLL _Pragma("unroll")
#define SPEXPAND_UNROLL_BY(count) _Pragma(SPEXPAND_TEXT(unroll count))
#define SPEXPAND_TEXT(words) #words
#else
#include "kernels/half.h"
#include "shim.h"  // test/native/cuda
#define SPEXPAND_DEVICE static inline
#define SPEXPAND_KERNEL static void
#define SPEXPAND_KERNEL_FOR(threads, blocks) static void
#define SPEXPAND_DYNAMIC_SHARED(name) uint8_t* const name = shim::dynamicShared
#define SPEXPAND_MEMBER inline
#define SPEXPAND_UNROLL
#define SPEXPAND_UNROLL_BY(count)
#endif

namespace spexpand {
namespace cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

SPEXPAND_DEVICE int laneOf() { return static_cast<int>(threadIdx.x) % kWarp; }
SPEXPAND_DEVICE int warpOf() { return static_cast<int>(threadIdx.x) / kWarp; }

#ifdef __CUDACC__
SPEXPAND_DEVICE float f16At(const void* values, long at) {
  return __half2float(__ushort_as_half(static_cast<const unsigned short*>(values)[at]));
}
SPEXPAND_DEVICE void storeF16(void* values, long at, float value) {
  static_cast<unsigned short*>(values)[at] = __half_as_ushort(__float2half_rn(value));
}
SPEXPAND_DEVICE float notANumber() { return __int_as_float(0x7fffffff); }
SPEXPAND_DEVICE float floatOf(uint32_t bits) { return __uint_as_float(bits); }
SPEXPAND_DEVICE uint32_t bitsOf(float value) { return __float_as_uint(value); }
#else
SPEXPAND_DEVICE float f16At(const void* values, long at) {
  return f16ToFloat(static_cast<const uint16_t*>(values)[at]);
}
SPEXPAND_DEVICE void storeF16(void* values, long at, float value) {
  static_cast<uint16_t*>(values)[at] = floatToF16(value);
}
SPEXPAND_DEVICE float notANumber() { return bitsToFloat(0x7fffffff); }
SPEXPAND_DEVICE float floatOf(uint32_t bits) { return bitsToFloat(bits); }
SPEXPAND_DEVICE uint32_t bitsOf(float value) { return floatToBits(value); }
#endif

SPEXPAND_DEVICE float bf16At(const void* values, long at) {
  return floatOf(static_cast<uint32_t>(static_cast<const uint16_t*>(values)[at]) << 16);
}

SPEXPAND_DEVICE float lowHalf(uint32_t word) {
  const auto half = static_cast<uint16_t>(word);
  return f16At(&half, 0);
}

template <bool kFirst, typename A, typename B>
struct Choose {
  using Type = A;
};
template <typename A, typename B>
struct Choose<false, A, B> {
  using Type = B;
};

/** What one instruction loads. */
template <typename T>
struct alignas(2 * sizeof(T)) Pair {
  T a, b;
};
template <typename T>
struct alignas(4 * sizeof(T)) Quad {
  T a, b, c, d;
};

/** x and y are f32 or f16. */
template <bool kHalf>
SPEXPAND_DEVICE float inputAt(const void* x, long at) {
  if constexpr (kHalf) return f16At(x, at);
  else return static_cast<const float*>(x)[at];
}

template <bool kHalf>
SPEXPAND_DEVICE void storeOutput(void* y, long at, float value) {
  if constexpr (kHalf) storeF16(y, at, value);
  else static_cast<float*>(y)[at] = value;
}

/** The sum over the lanes of a warp, in every lane; pairs in fixed order. */
template <typename T>
SPEXPAND_DEVICE T warpSum(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

/**
 * Tells the host, without waiting for it, that an index is bad: one word in host memory that the device can write,
 * position + 1 below and the index above, both cut to 32 bits. The next run reads it (Notice in launch.h).
 */
SPEXPAND_DEVICE void complain(unsigned long long* notice, long position, int64_t index) {
  const int64_t most = INT32_MAX;
  const int64_t cut = index > most ? most : index < -most ? -most : index;
  const uint64_t at = position < most ? static_cast<uint64_t>(position) : static_cast<uint64_t>(most);
  *static_cast<volatile unsigned long long*>(notice) = static_cast<uint64_t>(cut) << 32 | (at + 1);
}

}  // namespace cuda
}  // namespace spexpand
