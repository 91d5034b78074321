// int8 and int4 values times rounded inputs on AVX-512: vpexpandb lays the kept values of 64 inputs in their places,
// vpdpbusd multiplies. It takes unsigned by signed, so 128 (8 for int4) is added to weights, and Inputs::corrections
// take it off again.

#include "kernels/expand.avx512.h"
#include "kernels/rounded.h"
#include "kernels/scales.avx512.h"
#include "kernels/sums.avx512.h"

namespace spexpand::avx512 {

namespace {

/** What the tokens bring: rounded inputs, corrections, and the factor of every block. */
template <int tokens>
struct Columns {
  const int8_t* rounded[tokens];
  const int32_t* corrections[tokens];
  const float* factors[tokens];
};

template <long blockInputs>
inline __m512 factorsAt(const float* factors, long step) {
  if (blockInputs >= 64) return _mm512_set1_ps(factors[step]);
  return _mm512_mask_mov_ps(_mm512_set1_ps(factors[step * 2]), 0xff00, _mm512_set1_ps(factors[step * 2 + 1]));
}

/** The next values, and where they lie in the tensor: nibbles at half of `next` and `packed`, bytes at `next`. */
struct Values {
  const int8_t* next;
  uintptr_t packed;
};

/** One step of `chunks` times 64 inputs. */
template <long blockInputs, Source source, int chunks, int tokens>
inline void multiplyStep(const uint8_t* mask, long bytes, long step, Values& values, const Columns<tokens>& columns,
                         __m512* sums) {
  __m512i products[tokens];
  for (int t = 0; t < tokens; t++) products[t] = _mm512_load_si512(columns.corrections[t] + step * 16);
#pragma GCC unroll 2
  for (int c = 0; c < chunks; c++) {
    const uint64_t kept = maskAt(mask, bytes, c * 8);
    const __m512i weights = expandBytes<source>(values.next, kept);
    values.next += __builtin_popcountll(kept);
    for (int t = 0; t < tokens; t++) {
      const int8_t* x = columns.rounded[t] + step * stepInputsOf(blockInputs) + c * 64;
      products[t] = _mm512_dpbusd_epi32(products[t], weights, _mm512_load_si512(x));
    }
  }
  const auto at = reinterpret_cast<uintptr_t>(values.next);
  prefetchAhead(reinterpret_cast<const char*>(source == Source::nibbles ? (at >> 1) + values.packed : at));
  for (int t = 0; t < tokens; t++) {
    const __m512 factors = factorsAt<blockInputs>(columns.factors[t], step);
    sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t]), factors, sums[t]);
  }
}

/**
 * One row; `values` moves on to the next. Returns the sums of token 0, those of token t go to out[16 t]. Not inline:
 * with the loop over rows around it gcc runs out of registers, and keeps addresses in vectors. It returns a vector
 * because gcc then adds no vzeroupper.
 */
template <long blockInputs, Source source, int tokens>
__attribute__((noinline)) __m512 row(const uint8_t* mask, long maskBytes, Values& values,
                                     const Columns<tokens>& columns, __m512* out) {
  constexpr int chunks = blockInputs == 128 ? 2 : 1;
  const auto whole = static_cast<long>(static_cast<unsigned long>(maskBytes) / (8 * chunks));
  const Columns<tokens> own = columns;
  Values at = values;
  __m512 sums[tokens];
  for (int t = 0; t < tokens; t++) sums[t] = _mm512_setzero_ps();
  for (long step = 0; step < whole; step++) {
    multiplyStep<blockInputs, source, chunks, tokens>(mask + step * chunks * 8, chunks * 8, step, at, own, sums);
    if ((step & 3) == 0) prefetchAhead(mask + step * chunks * 8);
  }
  const long done = whole * chunks * 8;
  const long rest = maskBytes - done;
  if (rest > 8) multiplyStep<blockInputs, source, 2, tokens>(mask + done, rest, whole, at, own, sums);
  else if (rest > 0) multiplyStep<blockInputs, source, 1, tokens>(mask + done, rest, whole, at, own, sums);
  for (int t = 1; t < tokens; t++) out[t * 16] = sums[t];
  values = at;
  return sums[0];
}

/** The rows [from, to) of the task, whose values lie one behind the other. */
template <long blockInputs, Source source, int tokens>
void rowsFrom(const RowsTask& task, long from, long to, Values values, const Scales& scales,
              const Columns<tokens>& blockScales, RowSums<tokens>& sums) {
  const Stack& stack = *task.stack;
  const uint8_t* mask = stack.mask + (task.row + from) * stack.maskBytes;
  Columns<tokens> columns = blockScales;
  if (stack.groupSize > 0)
    for (int t = 0; t < tokens; t++) columns.factors[t] = scales.factors + t * scales.stride();
  for (long r = from; r < to; r++, mask += stack.maskBytes) {
    if (stack.groupSize > 0) scales.multiply<tokens>(task.row + r, blockScales.factors);
    sums.next()[0] = row<blockInputs, source, tokens>(mask, stack.maskBytes, values, columns, sums.next());
    sums.add();
  }
}

/** Nibbles are unpacked for as many rows as fit, at least one. */
template <long blockInputs, int tokens>
void nibbleRows(const RowsTask& task, const Scales& scales, const Columns<tokens>& columns, RowSums<tokens>& sums) {
  const Stack& stack = *task.stack;
  const auto* packed = static_cast<const uint8_t*>(stack.values);
  auto* bytes = static_cast<int8_t*>(task.scratch);
  for (long from = 0, to = 0; from < task.rows; from = to) {
    const long begin = stack.rowBegin(task.row + from);
    for (to = from + 1; to < task.rows && stack.rowEnd(task.row + to) - begin <= kUnpackedBytes;) to++;
    unpackNibbles<false>(packed, (stack.valueCount + 1) / 2, begin, stack.rowEnd(task.row + to - 1) - begin, bytes);
    const uintptr_t half = reinterpret_cast<uintptr_t>(bytes) / 2;
    const Values values{bytes + (begin & 1), reinterpret_cast<uintptr_t>(packed + begin / 2) - half};
    rowsFrom<blockInputs, Source::nibbles, tokens>(task, from, to, values, scales, columns, sums);
  }
}

template <long blockInputs, int tokens>
void byteRows(const RowsTask& task, const Scales& scales, const Columns<tokens>& columns, RowSums<tokens>& sums) {
  const Stack& stack = *task.stack;
  const auto* values = static_cast<const int8_t*>(stack.values);
  const long inside = rowsInside(task);
  if (inside > 0)
    rowsFrom<blockInputs, Source::bytes, tokens>(task, 0, inside, {values + stack.rowBegin(task.row), 0}, scales,
                                                 columns, sums);
  if (inside < task.rows)
    rowsFrom<blockInputs, Source::lastBytes, tokens>(
        task, inside, task.rows, {values + stack.rowBegin(task.row + inside), 0}, scales, columns, sums);
}

template <long blockInputs, bool isInt4, int tokens>
void rowsFor(const RowsTask& task) {
  const Inputs& inputs = *task.inputs;
  const long blocks = inputs.padded / blockInputs;
  Columns<tokens> columns;
  for (int t = 0; t < tokens; t++) {
    const int64_t token = tokenAt(task, t);
    columns.rounded[t] = inputs.rounded + token * inputs.padded;
    columns.corrections[t] = inputs.corrections + token * (inputs.padded / stepInputsOf(blockInputs)) * 16;
    columns.factors[t] = inputs.blockScales + token * blocks;
  }
  auto* factors = reinterpret_cast<float*>(static_cast<int8_t*>(task.scratch) + unpackedBytes(inputs.padded));
  const Scales scales{task.stack, blocks, task.stack->groupSize / blockInputs, factors};
  RowSums<tokens> sums(task, task.stack->groupSize == 0 ? task.stack->scales + task.row : nullptr);
  if (isInt4) nibbleRows<blockInputs, tokens>(task, scales, columns, sums);
  else byteRows<blockInputs, tokens>(task, scales, columns, sums);
  sums.flush();
}

using Rows = void (*)(const RowsTask&);
template <long block, bool isInt4>
constexpr Rows kRows[] = {rowsFor<block, isInt4, 1>, rowsFor<block, isInt4, 2>, rowsFor<block, isInt4, 3>,
                          rowsFor<block, isInt4, 4>, rowsFor<block, isInt4, 8>};

template <bool isInt4>
void rowsOf(const RowsTask& task) {
  const long block = task.inputs->blockInputs;
  const Rows* kernels = block == 128 ? kRows<128, isInt4> : block == 64 ? kRows<64, isInt4> : kRows<32, isInt4>;
  kernels[kernelFor(task.tokenCount)](task);
}

}  // namespace

void integerRows(const RowsTask& task) {
  task.stack->type == ValueType::int4 ? rowsOf<true>(task) : rowsOf<false>(task);
}

}  // namespace spexpand::avx512
