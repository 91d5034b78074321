// f16 and bf16 values on AVX-512: vpexpandw lays the kept values of 32 inputs in their places.

#include "kernels/expand.avx512.h"

namespace spexpand::avx512 {

namespace {

/** f16 to f32. Through the stack: loads that convert spare the busy shuffle port. */
inline void widenF16(__m512i halves, __m512& low, __m512& high) {
  alignas(64) __m256i parts[2];
  _mm512_store_si512(parts, halves);
  asm("" : "+m"(parts));
  low = _mm512_cvtph_ps(parts[0]);
  high = _mm512_cvtph_ps(parts[1]);
}

/** bf16 to f32: the even inputs, then the odd ones. */
inline void widenBf16(__m512i halves, __m512& even, __m512& odd) {
  even = _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(halves, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

template <bool isBf16>
inline void widen(__m512i halves, __m512& a, __m512& b) {
  if (isBf16) widenBf16(halves, a, b);
  else widenF16(halves, a, b);
}

template <bool isBf16, bool isLast, int tokens>
inline void row(const Stack& stack, const uint8_t* mask, const uint16_t* values, const float* const* x, __m512* sums) {
  __m512 sum[tokens][2];
  for (int t = 0; t < tokens; t++) sum[t][0] = sum[t][1] = _mm512_setzero_ps();
  const long chunks = (stack.inputs + 63) / 64;
  const long whole = stack.maskBytes / 8;
  for (long c = 0; c < chunks; c++) {
    const uint64_t kept = c < whole ? load64(mask + c * 8) : loadRest(mask + c * 8, stack.maskBytes - c * 8);
    const auto first = static_cast<uint32_t>(kept);
    const auto second = static_cast<uint32_t>(kept >> 32);
    __m512 w[4];
    widen<isBf16>(expandWords<isLast>(values, first), w[0], w[1]);
    widen<isBf16>(expandWords<isLast>(values + __builtin_popcount(first), second), w[2], w[3]);
    values += __builtin_popcountll(kept);
    prefetchAhead(values);
    if ((c & 7) == 0) prefetchAhead(mask + c * 8);
    for (int t = 0; t < tokens; t++) {
      const float* inputs = x[t] + c * 64;
      sum[t][0] = _mm512_fmadd_ps(w[0], _mm512_load_ps(inputs), sum[t][0]);
      sum[t][1] = _mm512_fmadd_ps(w[1], _mm512_load_ps(inputs + 16), sum[t][1]);
      sum[t][0] = _mm512_fmadd_ps(w[2], _mm512_load_ps(inputs + 32), sum[t][0]);
      sum[t][1] = _mm512_fmadd_ps(w[3], _mm512_load_ps(inputs + 48), sum[t][1]);
    }
  }
  for (int t = 0; t < tokens; t++) sums[t] = _mm512_add_ps(sum[t][0], sum[t][1]);
}

template <bool isBf16, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const auto* values = static_cast<const uint16_t*>(stack.values);
  const float* x[tokens];
  for (int t = 0; t < tokens; t++) x[t] = task.inputs->f32 + tokenAt(task, t) * task.inputs->padded;
  RowSums<tokens> sums(task);
  for (long r = 0; r < task.rows; r++) {
    const uint8_t* mask = stack.mask + (task.row + r) * stack.maskBytes;
    // A load takes 32 values wherever the row ends; only the last rows of the tensor could leave it.
    const uint16_t* begin = values + stack.rowBegin(task.row + r);
    const bool isInside = stack.rowEnd(task.row + r) + 64 <= stack.valueCount;
    __m512 sum[tokens];
    if (isInside) row<isBf16, false, tokens>(stack, mask, begin, x, sum);
    else row<isBf16, true, tokens>(stack, mask, begin, x, sum);
    sums.add(r, sum);
  }
  sums.flush();
}

using Rows = void (*)(const RowsTask&);
template <bool isBf16>
constexpr Rows kRows[] = {rowsFor<isBf16, 1>, rowsFor<isBf16, 2>, rowsFor<isBf16, 3>, rowsFor<isBf16, 4>,
                          rowsFor<isBf16, 8>};

}  // namespace

void halfRows(const RowsTask& task) {
  (task.stack->type == ValueType::bf16 ? kRows<true> : kRows<false>)[kernelFor(task.tokenCount)](task);
}

}  // namespace spexpand::avx512
