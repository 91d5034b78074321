// From vectors of partial sums to y on AVX-512.
#pragma once

#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

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
  /** `scales`: f16, a factor for every row of the task; or null. */
  explicit RowSums(const RowsTask& task, const uint16_t* scales = nullptr) : task_(task), scales_(scales) {}

  /** Where the vector of the next row goes for token 0; that of token t 16 t behind. */
  __m512* next() { return pending_[0] + (count_ & 15); }

  /** The next row is there. */
  void add() {
    if ((++count_ & 15) == 0) write(count_ - 16, 16);
  }

  void flush() {
    if (count_ & 15) write(count_ & ~15L, count_ & 15);
  }

 private:
  __attribute__((noinline)) void write(long first, long count) {
    const auto there = static_cast<__mmask16>(lowBits32(static_cast<int>(count)));
    const __m512 scales =
        scales_ ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, scales_ + first)) : _mm512_set1_ps(1.0f);
    for (int t = 0; t < tokens; t++) {
      for (long i = count; i < 16; i++) pending_[t][i] = _mm512_setzero_ps();
      float* y = task_.y + tokenAt(task_, t) * task_.yStride + task_.column + first;
      _mm512_mask_storeu_ps(y, there, _mm512_mul_ps(sumEach(pending_[t]), scales));
    }
  }

  const RowsTask& task_;
  const uint16_t* scales_;
  __m512 pending_[tokens][16];
  long count_ = 0;
};

/** Rows of the task, from its first on, behind whose values 64 more can be read; all but the last of the tensor. */
static inline long rowsInside(const RowsTask& task) {
  long rows = task.rows;
  while (rows > 0 && task.stack->rowEnd(task.row + rows - 1) + 64 > task.stack->valueCount) rows--;
  return rows;
}

}  // namespace spexpand::avx512
