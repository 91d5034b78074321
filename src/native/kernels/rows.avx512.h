// What the AVX-512 files share. Static, or in the namespace of the instruction set: nothing may be linked elsewhere.
#pragma once

// gcc 12 finds its own intrinsics uninitialised.
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/isa.h"

namespace spexpand::avx512 {

static inline uint64_t load64(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, 8);
  return word;
}

/** The last bytes of a row's mask, and zeros. */
static inline uint64_t loadRest(const uint8_t* bytes, long count) {
  uint64_t word = 0;
  for (long i = 0; i < count && i < 8; i++) word |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return word;
}

/** 64 mask bits from byte `byte` of a row on; beyond its end zeros. */
static inline uint64_t maskAt(const uint8_t* mask, long maskBytes, long byte) {
  return byte + 8 <= maskBytes ? load64(mask + byte) : loadRest(mask + byte, maskBytes - byte);
}

static inline uint32_t lowBits32(int count) { return count >= 32 ? 0xffffffffu : (1u << count) - 1; }
static inline uint64_t lowBits64(long count) {
  return count >= 64 ? ~0ull : count <= 0 ? 0 : (1ull << count) - 1;
}

// Bytes from what is read to what is asked for: what memory delivers in its latency. Hardware stops at page borders.
constexpr long kAhead = 4096;

static inline void prefetchAhead(const void* at) {
  _mm_prefetch(static_cast<const char*>(at) + kAhead, _MM_HINT_T0);
}

void halfRows(const RowsTask& task);
void integerRows(const RowsTask& task);
void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections);
long countBits(const uint8_t* mask, long bytes);
bool allFinite(const uint16_t* numbers, long count, uint16_t exponent);
void decodeRow(const Stack& stack, long row, float* out, long padded, void* scratch);
float dot(DenseType type, const void* weights, const float* x, long count);
void axpy(DenseType type, float a, const void* weights, float* y, long count);

}  // namespace spexpand::avx512
