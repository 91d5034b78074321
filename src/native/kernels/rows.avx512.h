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

/** The sums of 16 vectors: element i of the result is the sum over vector i, always added in the same order. */
static inline __m512 sumEach(const __m512* rows) {
  __m512 a[16];
  for (int i = 0; i < 8; i++) {
    // Halves of rows i and i + 8 beside each other.
    const __m512 low = _mm512_shuffle_f32x4(rows[i], rows[i + 8], 0x44);
    const __m512 high = _mm512_shuffle_f32x4(rows[i], rows[i + 8], 0xee);
    a[i] = _mm512_add_ps(low, high);
  }
  __m512 b[4];
  for (int i = 0; i < 4; i++) {
    const __m512 even = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
    const __m512 odd = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
    b[i] = _mm512_add_ps(even, odd);
  }
  // Lanes of b[i] now hold rows i, i + 8, i + 4, i + 12: four numbers each.
  const __m512 c0 = _mm512_add_ps(_mm512_unpacklo_ps(b[0], b[1]), _mm512_unpackhi_ps(b[0], b[1]));
  const __m512 c1 = _mm512_add_ps(_mm512_unpacklo_ps(b[2], b[3]), _mm512_unpackhi_ps(b[2], b[3]));
  const __m512 d = _mm512_add_ps(_mm512_shuffle_ps(c0, c1, 0x44), _mm512_shuffle_ps(c0, c1, 0xee));
  return _mm512_shuffle_f32x4(d, d, 0xd8);
}

/** Collects one vector per row and token and adds up 16 rows at a time: a sum alone costs as much as four chunks. */
template <int tokens>
class RowSums {
 public:
  explicit RowSums(const RowsTask& task) : task_(task) {}

  void add(long row, const __m512* sums) {
    for (int t = 0; t < tokens; t++) pending_[t][row & 15] = sums[t];
    if ((row & 15) == 15) write(row - 15, 16);
    count_ = row + 1;
  }

  void flush() {
    if (count_ & 15) write(count_ & ~15L, count_ & 15);
  }

 private:
  void write(long first, long count) {
    for (int t = 0; t < tokens; t++) {
      for (long i = count; i < 16; i++) pending_[t][i] = _mm512_setzero_ps();
      float* y = task_.y + tokenAt(task_, t) * task_.yStride + task_.column + first;
      _mm512_mask_storeu_ps(y, static_cast<__mmask16>(lowBits32(static_cast<int>(count))), sumEach(pending_[t]));
    }
  }

  const RowsTask& task_;
  __m512 pending_[tokens][16];
  long count_ = 0;
};

void halfRows(const RowsTask& task);
void integerRows(const RowsTask& task);
void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections);
long countBits(const uint8_t* mask, long bytes);
bool allFinite(const uint16_t* numbers, long count, uint16_t exponent);
void decodeRow(const Stack& stack, long row, float* out, long padded, void* scratch);
float dot(DenseType type, const void* weights, const float* x, long count);
void axpy(DenseType type, float a, const void* weights, float* y, long count);

}  // namespace spexpand::avx512
