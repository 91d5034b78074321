// int8 and int4 values times rounded inputs on AVX-512: vpexpandb lays the kept values of 64 inputs in their places,
// vpdpbusd multiplies. It takes unsigned by signed, so 128 (8 for int4) is added to weights, and Inputs::corrections
// take it off again.

#include "kernels/expand.avx512.h"
#include "kernels/half.h"
#include "kernels/rounded.h"

namespace spexpand::avx512 {

namespace {

/** Scales of the 16 blocks of inputs from block b on, from the f16 scales of a row per group. */
inline __m512 scalesAt(const Stack& stack, long row, long blocksPerGroup, long b) {
  const uint16_t* scales = stack.scales + row * stack.groups;
  if (blocksPerGroup == 1) {
    // Blocks beyond the last group are padding: their inputs are 0, and so must their scales be.
    const auto there = static_cast<__mmask16>(lowBits64(stack.groups - b));
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, scales + b));
  }
  alignas(64) uint16_t own[16];
  for (long i = 0; i < 16; i++) {
    const long group = (b + i) / blocksPerGroup;
    own[i] = group < stack.groups ? scales[group] : uint16_t{0};
  }
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(own)));
}

struct Row {
  const uint8_t* mask;
  long maskBytes;
  const int8_t* values;
};

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

template <long blockInputs, Source source, int tokens>
inline void row(Row at, long steps, const Columns<tokens>& columns, __m512* sums) {
  constexpr long chunks = blockInputs == 128 ? 2 : 1;
  for (int t = 0; t < tokens; t++) sums[t] = _mm512_setzero_ps();
  for (long step = 0; step < steps; step++) {
    __m512i products[tokens];
    for (int t = 0; t < tokens; t++) products[t] = _mm512_load_si512(columns.corrections[t] + step * 16);
    for (long c = 0; c < chunks; c++) {
      const long chunk = step * chunks + c;
      const uint64_t kept = maskAt(at.mask, at.maskBytes, chunk * 8);
      const __m512i weights = expandBytes<source>(at.values, kept);
      at.values += __builtin_popcountll(kept);
      for (int t = 0; t < tokens; t++)
        products[t] = _mm512_dpbusd_epi32(products[t], weights, _mm512_load_si512(columns.rounded[t] + chunk * 64));
    }
    prefetchAhead(at.values);
    if ((step & 3) == 0) prefetchAhead(at.mask + step * chunks * 8);
    for (int t = 0; t < tokens; t++)
      sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t]), factorsAt<blockInputs>(columns.factors[t], step),
                                sums[t]);
  }
}

/** Factors of one row, per token and block: scale of the weights times scale of the inputs. */
template <int tokens>
inline void multiplyScales(const Stack& stack, long row, long blocksPerGroup, const Columns<tokens>& blockScales,
                           long blocks, float* out) {
  const long stride = (blocks + 15) / 16 * 16;
  for (long b = 0; b < blocks; b += 16) {
    const auto there = static_cast<__mmask16>(lowBits64(blocks - b));
    const __m512 ofWeights = scalesAt(stack, row, blocksPerGroup, b);
    for (int t = 0; t < tokens; t++)
      _mm512_storeu_ps(out + t * stride + b,
                       _mm512_mul_ps(ofWeights, _mm512_maskz_loadu_ps(there, blockScales.factors[t] + b)));
  }
}

/** Nibbles of some rows as bytes, and which. */
struct Unpacked {
  int8_t* bytes;
  long begin;  // element of the first
  long end;    // row behind the last

  /** Unpacks from `row` on, rows before `end` only. */
  void fill(const Stack& stack, long row, long endRow) {
    begin = stack.rowBegin(row);
    end = row + 1;
    while (end < endRow && stack.rowEnd(end) - begin <= kUnpackedBytes) end++;
    unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin,
                  stack.rowEnd(end - 1) - begin, bytes);
  }
  const int8_t* at(long element) const { return bytes + (begin & 1) + (element - begin); }
};

template <long blockInputs, bool isInt4, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const Inputs& inputs = *task.inputs;
  const long blocks = inputs.padded / blockInputs;
  const long steps = (stack.inputs + stepInputsOf(blockInputs) - 1) / stepInputsOf(blockInputs);
  const long blocksPerGroup = stack.groupSize / blockInputs;
  Unpacked unpacked{static_cast<int8_t*>(task.scratch), 0, task.row};
  auto* factors = reinterpret_cast<float*>(unpacked.bytes + unpackedBytes(inputs.padded));
  Columns<tokens> columns;
  for (int t = 0; t < tokens; t++) {
    const int64_t token = tokenAt(task, t);
    columns.rounded[t] = inputs.rounded + token * inputs.padded;
    columns.corrections[t] = inputs.corrections + token * (inputs.padded / stepInputsOf(blockInputs)) * 16;
    columns.factors[t] = inputs.blockScales + token * blocks;
  }
  const Columns<tokens> blockScales = columns;
  if (stack.groupSize > 0)
    for (int t = 0; t < tokens; t++) columns.factors[t] = factors + t * ((blocks + 15) / 16 * 16);
  RowSums<tokens> sums(task);
  for (long r = 0; r < task.rows; r++) {
    const long at = task.row + r;
    const long begin = stack.rowBegin(at);
    const long end = stack.rowEnd(at);
    const auto* values = static_cast<const int8_t*>(stack.values);
    Row one{stack.mask + at * stack.maskBytes, stack.maskBytes, values + begin};
    if (stack.groupSize > 0) multiplyScales<tokens>(stack, at, blocksPerGroup, blockScales, blocks, factors);
    __m512 sum[tokens];
    if (isInt4) {
      if (at == unpacked.end) unpacked.fill(stack, at, task.row + task.rows);
      one.values = unpacked.at(begin);
      row<blockInputs, Source::nibbles, tokens>(one, steps, columns, sum);
    } else if (end + 64 <= stack.valueCount) {
      row<blockInputs, Source::bytes, tokens>(one, steps, columns, sum);
    } else {
      row<blockInputs, Source::lastBytes, tokens>(one, steps, columns, sum);
    }
    if (stack.groupSize == 0)
      for (int t = 0; t < tokens; t++) sum[t] = _mm512_mul_ps(sum[t], _mm512_set1_ps(f16ToFloat(stack.scales[at])));
    sums.add(r, sum);
  }
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
