// What the AVX2 files share. Static, or in the namespace of the instruction set: nothing here may be linked elsewhere.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/half.h"
#include "kernels/isa.h"

namespace spexpand::avx2 {

// Bytes from what is read to what is asked for: what memory delivers in its latency. Hardware stops at page borders.
constexpr long kAhead = 4096;

static inline void prefetchAhead(const void* at) {
  _mm_prefetch(static_cast<const char*>(at) + kAhead, _MM_HINT_T0);
}

/**
 * Shuffles that lay packed values in the places of 8 mask bits; pruned places take 0 (index with the high bit). Those
 * of bytes are read as whole vectors, of which the upper half is another entry and means nothing.
 */
struct Shuffles {
  uint8_t words[256][16];
  uint8_t bytes[256 + 1][8];
};

constexpr Shuffles makeShuffles() {
  Shuffles all{};
  for (int mask = 0; mask < 256; mask++) {
    int next = 0;
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

/** `bytes` (4 or 8) bytes of mask bits from byte `byte` of a row on; beyond its end zeros. */
static inline uint64_t maskAt(const uint8_t* mask, long maskBytes, long byte, long bytes) {
  uint64_t word = 0;
  if (byte + bytes <= maskBytes) std::memcpy(&word, mask + byte, static_cast<size_t>(bytes));
  else
    for (long i = 0; i < bytes && byte + i < maskBytes; i++) word |= static_cast<uint64_t>(mask[byte + i]) << (8 * i);
  return word;
}

/** Byte i: ones in the bytes 0 … i. One multiplication counts for all eight. */
static inline uint64_t countUpTo(uint64_t kept) {
  uint64_t count = kept - (kept >> 1 & 0x5555555555555555);
  count = (count & 0x3333333333333333) + (count >> 2 & 0x3333333333333333);
  count = (count + (count >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return count * 0x0101010101010101;
}

/** Eight bytes of a word by way of memory: a load takes one out, where shift and mask are two instructions. */
struct EightBytes {
  explicit EightBytes(uint64_t word) {
    std::memcpy(bytes, &word, 8);
    asm("" : "+m"(bytes));
  }
  uint8_t bytes[8];
};

static inline float sumOf(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline __m256 widenBf16(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/** `count` elements from `first` on as bytes, at out[first & 1]. Writes up to 32 bytes more. */
static inline void unpackNibbles(const uint8_t* packed, long packedBytes, long first, long count, int8_t* out) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i eight = _mm256_set1_epi8(8);
  const long end = (first + count + 1) / 2;
  long at = first / 2;
  for (; at < end && at + 16 <= packedBytes; at += 16, out += 32) {
    const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + at)));
    prefetchAhead(packed + at);
    const __m256i pairs = _mm256_and_si256(_mm256_or_si256(words, _mm256_slli_epi16(words, 4)), nibble);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_sub_epi8(_mm256_xor_si256(pairs, eight), eight));
  }
  for (; at < end; at++, out += 2) {
    out[0] = static_cast<int8_t>(nibbleAt(packed, 2 * at));
    out[1] = static_cast<int8_t>(nibbleAt(packed, 2 * at + 1));
  }
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
