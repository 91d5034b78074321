// int8 and int4 values times rounded inputs on AVX-512: vpexpandb lays the kept values of 64 inputs in their places,
// vpdpbusd multiplies. It takes unsigned by signed, so weights get 128 added; Inputs::corrections take it off again.
#include <immintrin.h>

#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/rounded.h"
#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

namespace {

/** 64 weights + 128, pruned ones as 128. */
template <bool isLast>
inline __m512i expand(const int8_t* values, uint64_t kept) {
  __m512i packed = isLast ? _mm512_maskz_loadu_epi8(lowBits64(__builtin_popcountll(kept)), values)
                          : _mm512_loadu_si512(values);
  asm("" : "+v"(packed));  // not into the slow memory form of vpexpandb
  return _mm512_xor_si512(_mm512_maskz_expand_epi8(kept, packed), _mm512_set1_epi8(-128));
}

/** Element `first` and the `count` - 1 after it as bytes, at out[first & 1]. Writes up to 128 bytes more. */
void unpackNibbles(const uint8_t* packed, long packedBytes, long first, long count, int8_t* out) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i eight = _mm512_set1_epi8(8);
  const long end = (first + count + 1) / 2;
  for (long at = first / 2; at < end; at += 32, out += 64) {
    const __m256i bytes = at + 32 <= packedBytes
                              ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + at))
                              : _mm256_maskz_loadu_epi8(static_cast<__mmask32>(lowBits64(packedBytes - at)), packed + at);
    prefetchAhead(packed + at);
    const __m512i words = _mm512_cvtepu8_epi16(bytes);
    const __m512i pairs = _mm512_and_si512(_mm512_or_si512(words, _mm512_slli_epi16(words, 4)), nibble);
    _mm512_storeu_si512(out, _mm512_sub_epi8(_mm512_xor_si512(pairs, eight), eight));
  }
}

/** `blocks` scales of one row, one per block of inputs, from its f16 scales per group. */
void widenScales(const Stack& stack, long row, long blockInputs, long blocks, float* out) {
  const uint16_t* scales = stack.scales + row * stack.groups;
  const long blocksPerGroup = stack.groupSize / blockInputs;
  if (blocksPerGroup > 1) {
    for (long b = 0; b < blocks; b++)
      out[b] = b / blocksPerGroup < stack.groups ? f16ToFloat(scales[b / blocksPerGroup]) : 0;
    return;
  }
  // Blocks beyond the last group are padding: their inputs are 0, and so must their scales be.
  for (long b = 0; b < blocks; b += 16) {
    const auto there = static_cast<__mmask16>(lowBits64(stack.groups - b));
    _mm512_storeu_ps(out + b, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, scales + b)));
  }
}

struct Row {
  const uint8_t* mask;
  long maskBytes;
  const int8_t* values;
};

inline uint64_t maskAt(const Row& row, long byte) {
  return byte + 8 <= row.maskBytes ? load64(row.mask + byte) : loadRest(row.mask + byte, row.maskBytes - byte);
}

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

template <long blockInputs, bool isLast, int tokens>
inline void row(Row at, long steps, const Columns<tokens>& columns, __m512* sums) {
  constexpr long chunks = blockInputs == 128 ? 2 : 1;
  for (int t = 0; t < tokens; t++) sums[t] = _mm512_setzero_ps();
  for (long step = 0; step < steps; step++) {
    __m512i products[tokens];
    for (int t = 0; t < tokens; t++) products[t] = _mm512_load_si512(columns.corrections[t] + step * 16);
    for (long c = 0; c < chunks; c++) {
      const long chunk = step * chunks + c;
      const uint64_t kept = maskAt(at, chunk * 8);
      const __m512i weights = expand<isLast>(at.values, kept);
      at.values += __builtin_popcountll(kept);
      for (int t = 0; t < tokens; t++)
        products[t] = _mm512_dpbusd_epi32(products[t], weights, _mm512_load_si512(columns.rounded[t] + chunk * 64));
    }
    prefetchAhead(at.values);
    if ((step & 3) == 0) prefetchAhead(at.mask + step * chunks * 8);
    for (int t = 0; t < tokens; t++)
      sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t]), factorsAt<blockInputs>(columns.factors[t], step), sums[t]);
  }
}

template <long blockInputs, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const Inputs& inputs = *task.inputs;
  const long blocks = inputs.padded / blockInputs;
  const long steps = (stack.inputs + stepInputsOf(blockInputs) - 1) / stepInputsOf(blockInputs);
  auto* unpacked = static_cast<int8_t*>(task.scratch);
  auto* factors = reinterpret_cast<float*>(unpacked + (inputs.padded + 128 + 63) / 64 * 64);
  Columns<tokens> columns;
  for (int t = 0; t < tokens; t++) {
    columns.rounded[t] = inputs.rounded + task.tokens[t] * inputs.padded;
    columns.corrections[t] = inputs.corrections + task.tokens[t] * (inputs.padded / stepInputsOf(blockInputs)) * 16;
    columns.factors[t] = inputs.blockScales + task.tokens[t] * blocks;
  }
  const Columns<tokens> blockScales = columns;
  RowSums<tokens> sums(task);
  for (long r = 0; r < task.rows; r++) {
    const long at = task.row + r;
    const long begin = stack.rowBegin(at);
    const long end = stack.rowEnd(at);
    Row one{stack.mask + at * stack.maskBytes, stack.maskBytes, static_cast<const int8_t*>(stack.values) + begin};
    bool isInside = end + 64 <= stack.valueCount;
    if (stack.type == ValueType::int4) {
      unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin, end - begin, unpacked);
      one.values = unpacked + (begin & 1);
      isInside = true;
    }
    if (stack.groupSize > 0) {
      const long stride = (blocks + 15) / 16 * 16;
      widenScales(stack, at, blockInputs, blocks, factors);
      for (int t = tokens - 1; t >= 0; t--) {
        float* own = factors + t * stride;
        for (long b = 0; b < blocks; b += 16) {
          const auto there = static_cast<__mmask16>(lowBits64(blocks - b));
          _mm512_storeu_ps(own + b, _mm512_mul_ps(_mm512_loadu_ps(factors + b),
                                                  _mm512_maskz_loadu_ps(there, blockScales.factors[t] + b)));
        }
        columns.factors[t] = own;
      }
    }
    __m512 sum[tokens];
    if (isInside) row<blockInputs, false, tokens>(one, steps, columns, sum);
    else row<blockInputs, true, tokens>(one, steps, columns, sum);
    if (stack.groupSize == 0)
      for (int t = 0; t < tokens; t++) sum[t] = _mm512_mul_ps(sum[t], _mm512_set1_ps(f16ToFloat(stack.scales[at])));
    sums.add(r, sum);
  }
  sums.flush();
}

using Rows = void (*)(const RowsTask&);
template <long block>
constexpr Rows kRows[kFewTokens] = {rowsFor<block, 1>, rowsFor<block, 2>, rowsFor<block, 3>, rowsFor<block, 4>,
                                    rowsFor<block, 5>, rowsFor<block, 6>, rowsFor<block, 7>, rowsFor<block, 8>};

}  // namespace

void integerRows(const RowsTask& task) {
  const long block = task.inputs->blockInputs;
  (block == 128 ? kRows<128> : block == 64 ? kRows<64> : kRows<32>)[task.tokenCount - 1](task);
}

}  // namespace spexpand::avx512
