// f16 and bf16 values on AVX2: a shuffle from a table lays the kept values of 8 inputs in their places.
#include "kernels/half.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

/** Kept values before eight `i` of the 32 inputs: no count waits for the one before. */
inline long before(uint32_t kept, int i) { return __builtin_popcount(kept & ((1u << 8 * i) - 1)); }

template <bool isBf16>
inline __m256 expand(const uint16_t* values, unsigned kept) {
  const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles.words[kept]));
  const __m128i halves = _mm_shuffle_epi8(packed, shuffle);
  return isBf16 ? widenBf16(halves) : _mm256_cvtph_ps(halves);
}

template <bool isBf16, int tokens>
inline void row(const Stack& stack, const uint8_t* mask, const uint16_t* values, const float* const* x, float* y) {
  __m256 sums[tokens][2];
  for (int t = 0; t < tokens; t++) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
  for (long b = 0; b < stack.maskBytes; b += 4) {
    const auto kept = static_cast<uint32_t>(maskAt(mask, stack.maskBytes, b, 4));
    __m256 weights[4];
    for (int i = 0; i < 4; i++) weights[i] = expand<isBf16>(values + before(kept, i), (kept >> 8 * i & 255));
    values += __builtin_popcount(kept);
    prefetchAhead(values);
    if ((b & 63) == 0) prefetchAhead(mask + b);
    for (int t = 0; t < tokens; t++)
      for (int i = 0; i < 4; i++)
        sums[t][i & 1] = _mm256_fmadd_ps(weights[i], _mm256_load_ps(x[t] + b * 8 + i * 8), sums[t][i & 1]);
  }
  for (int t = 0; t < tokens; t++) y[t] = sumOf(_mm256_add_ps(sums[t][0], sums[t][1]));
}

template <bool isBf16, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const float* x[tokens];
  for (int t = 0; t < tokens; t++) x[t] = task.inputs->f32 + tokenAt(task, t) * task.inputs->padded;
  for (long r = 0; r < task.rows; r++) {
    const long begin = stack.rowBegin(task.row + r);
    const long end = stack.rowEnd(task.row + r);
    const uint16_t* values = static_cast<const uint16_t*>(stack.values) + begin;
    // 8 values are read wherever the row ends: the last rows of the tensor are copied to where that is allowed.
    if (end + 8 > stack.valueCount) {
      auto* copy = static_cast<uint16_t*>(task.scratch);
      for (long i = begin; i < end; i++) copy[i - begin] = values[i - begin];
      values = copy;
    }
    float y[tokens];
    row<isBf16, tokens>(stack, stack.mask + (task.row + r) * stack.maskBytes, values, x, y);
    for (int t = 0; t < tokens; t++) task.y[tokenAt(task, t) * task.yStride + task.column + r] = y[t];
  }
}

using Rows = void (*)(const RowsTask&);
template <bool isBf16>
constexpr Rows kRows[] = {rowsFor<isBf16, 1>, rowsFor<isBf16, 2>, rowsFor<isBf16, 3>, rowsFor<isBf16, 4>,
                          rowsFor<isBf16, 8>};

}  // namespace

void halfRows(const RowsTask& task) {
  (task.stack->type == ValueType::bf16 ? kRows<true> : kRows<false>)[kernelFor(task.tokenCount)](task);
}

}  // namespace spexpand::avx2
