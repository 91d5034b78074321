// What the AVX2 files share. Static, or in the namespace of the instruction set: nothing here may be linked elsewhere.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/isa.h"

namespace spexpand::avx2 {

// Bytes from what is read to what is asked for: what memory delivers in its latency. Hardware stops at page borders.
constexpr long kAhead = 4096;

static inline void prefetchAhead(const void* at) {
  _mm_prefetch(static_cast<const char*>(at) + kAhead, _MM_HINT_T0);
}

/**
 * Shuffles that lay packed values in the places of 8 mask bits; pruned places take 0 (index with the high bit). Those
 * of bytes are whole vectors too, the upper half 0: vpshufb then reads its table without an instruction of its own.
 */
struct Shuffles {
  uint8_t bytes[256][16];
  uint8_t words[256][16];
};

constexpr Shuffles makeShuffles() {
  Shuffles all{};
  for (int mask = 0; mask < 256; mask++) {
    int next = 0;
    for (int byte = 8; byte < 16; byte++) all.bytes[mask][byte] = 0x80;
    for (int bit = 0; bit < 8; bit++) {
      const bool isKept = mask >> bit & 1;
      all.bytes[mask][bit] = static_cast<uint8_t>(isKept ? next : 0x80);
      all.words[mask][2 * bit] = static_cast<uint8_t>(isKept ? 2 * next : 0x80);
      all.words[mask][2 * bit + 1] = static_cast<uint8_t>(isKept ? 2 * next + 1 : 0x80);
      next += isKept;
    }
  }
  return all;
}

alignas(64) static constexpr Shuffles kShuffles = makeShuffles();

/** 32 mask bits from byte `byte` of a row on; beyond its end zeros. */
static inline uint32_t maskAt(const uint8_t* mask, long maskBytes, long byte) {
  uint32_t word = 0;
  if (byte + 4 <= maskBytes) std::memcpy(&word, mask + byte, 4);
  else
    for (long i = 0; byte + i < maskBytes; i++) word |= static_cast<uint32_t>(mask[byte + i]) << (8 * i);
  return word;
}

/** Kept values before eight `i` of the 32 inputs: no count waits for the one before. */
static inline long before(uint32_t kept, int i) { return __builtin_popcount(kept & ((1u << 8 * i) - 1)); }

static inline unsigned eightAt(uint32_t kept, int i) { return kept >> 8 * i & 255; }

static inline float sumOf(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline __m256 widenBf16(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

void halfRows(const RowsTask& task);
void integerRows(const RowsTask& task);
void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections);
void decodeRow(const Stack& stack, long row, float* out, long padded, void* scratch);
float dot(DenseType type, const void* weights, const float* x, long count);
void axpy(DenseType type, float a, const void* weights, float* y, long count);
long countBits(const uint8_t* mask, long bytes);
bool allFinite(const uint16_t* numbers, long count, uint16_t exponent);

}  // namespace spexpand::avx2
