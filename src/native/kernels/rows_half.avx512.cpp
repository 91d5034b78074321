// f16 and bf16 values on AVX-512: vpexpandw lays the kept values of 32 inputs in their places.

#include "kernels/expand.avx512.h"
#include "kernels/sums.avx512.h"

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

/** 64 inputs, whose mask bits are `kept`. */
template <bool isBf16, bool isLast, int tokens>
inline void multiplyChunk(uint64_t kept, const uint16_t*& values, const float* const* x, long k, __m512 (*sums)[2]) {
  const auto first = static_cast<uint32_t>(kept);
  __m512 w[4];
  widen<isBf16>(expandWords<isLast>(values, first), w[0], w[1]);
  widen<isBf16>(expandWords<isLast>(values + __builtin_popcount(first), static_cast<uint32_t>(kept >> 32)), w[2], w[3]);
  values += __builtin_popcountll(kept);
  prefetchAhead(values);
  for (int t = 0; t < tokens; t++)
    for (int i = 0; i < 4; i++)
      sums[t][i & 1] = _mm512_fmadd_ps(w[i], _mm512_load_ps(x[t] + k + i * 16), sums[t][i & 1]);
}

template <int tokens>
struct Columns {
  const float* x[tokens];
};

/**
 * One row; `values` moves on to the next. Returns the sums of token 0, those of token t go to out[16 t]. Not inline, as
 * in rows_integer.avx512.cpp.
 */
template <bool isBf16, bool isLast, int tokens>
__attribute__((noinline)) __m512 row(const uint8_t* mask, long maskBytes, const uint16_t*& values,
                                     const Columns<tokens>& columns, __m512* out) {
  const Columns<tokens> own = columns;
  const uint16_t* at = values;
  const long whole = maskBytes & ~7L;
  __m512 sums[tokens][2];
  for (int t = 0; t < tokens; t++) sums[t][0] = sums[t][1] = _mm512_setzero_ps();
  for (long byte = 0; byte < whole; byte += 8) {
    multiplyChunk<isBf16, isLast, tokens>(load64(mask + byte), at, own.x, byte * 8, sums);
    if ((byte & 63) == 0) prefetchAhead(mask + byte);
  }
  if (whole < maskBytes)
    multiplyChunk<isBf16, isLast, tokens>(loadRest(mask + whole, maskBytes - whole), at, own.x, whole * 8, sums);
  for (int t = 1; t < tokens; t++) out[t * 16] = _mm512_add_ps(sums[t][0], sums[t][1]);
  values = at;
  return _mm512_add_ps(sums[0][0], sums[0][1]);
}

template <bool isBf16, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  Columns<tokens> columns;
  for (int t = 0; t < tokens; t++) columns.x[t] = task.inputs->f32 + tokenAt(task, t) * task.inputs->padded;
  const uint8_t* mask = stack.mask + task.row * stack.maskBytes;
  const uint16_t* values = static_cast<const uint16_t*>(stack.values) + stack.rowBegin(task.row);
  const long inside = rowsInside(task);
  RowSums<tokens> sums(task);
  for (long r = 0; r < task.rows; r++, mask += stack.maskBytes) {
    __m512* out = sums.next();
    out[0] = r < inside ? row<isBf16, false, tokens>(mask, stack.maskBytes, values, columns, out)
                        : row<isBf16, true, tokens>(mask, stack.maskBytes, values, columns, out);
    sums.add();
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
