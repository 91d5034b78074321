// int8 and int4 values times rounded inputs on AVX2: shuffles from a table lay 32 values in their places, vpmaddubsw
// multiplies magnitudes by inputs that took the signs.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

/**
 * Shuffles of two mask bytes a and b: the low half of `first[a]` takes the values of a, the high half of `second[b]`
 * those of b from 0 on; the high half of `first[a]` is how many a kept, so that the sum of both takes values that lie
 * one behind the other. Pruned places take 0 (their high bit stays set, because at most 8 is added).
 */
struct PairShuffles {
  uint8_t first[256][16];
  uint8_t second[256][16];
};

constexpr PairShuffles makePairShuffles() {
  PairShuffles all{};
  for (int mask = 0; mask < 256; mask++) {
    uint8_t next = 0;
    for (int bit = 0; bit < 8; bit++) {
      const bool isKept = mask >> bit & 1;
      all.first[mask][bit] = all.second[mask][8 + bit] = isKept ? next : uint8_t{0x80};
      next = static_cast<uint8_t>(next + isKept);
    }
    for (int i = 8; i < 16; i++) all.first[mask][i] = next;
  }
  return all;
}

alignas(64) static constexpr PairShuffles kPairs = makePairShuffles();

inline __m256i loadTwo(const void* low, const void* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(low))),
                                 _mm_loadu_si128(static_cast<const __m128i*>(high)), 1);
}

/** 32 weights of four mask bytes; the values of the last two begin at `later`. 16 are read from either place. */
inline __m256i expand(const int8_t* values, const int8_t* later, const uint8_t* mask) {
  const __m256i first = loadTwo(kPairs.first[mask[0]], kPairs.first[mask[2]]);
  const __m256i second = loadTwo(kPairs.second[mask[1]], kPairs.second[mask[3]]);
  return _mm256_shuffle_epi8(loadTwo(values, later), _mm256_add_epi8(first, second));
}

/** Sums of four products each. 2 · 128 · 127 fits 16 bits. */
inline __m256i multiply(__m256i weights, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

struct Columns {
  const int8_t* rounded;
  const float* blockScales;
};

/** 64 inputs, whose mask bytes can all be read: adds to the two halves' products, which may be the same. */
template <int tokens>
inline const int8_t* multiplyWord(const uint8_t* mask, const int8_t* values, const Columns* columns, long k,
                                  __m256i* firstProducts, __m256i* lastProducts) {
  uint64_t kept;
  std::memcpy(&kept, mask, 8);
  const int8_t* half = values + __builtin_popcountll(kept & 0xffffffff);
  const __m256i first = expand(values, values + __builtin_popcountll(kept & 0xffff), mask);
  const __m256i last = expand(half, values + __builtin_popcountll(kept << 16), mask + 4);
  for (int t = 0; t < tokens; t++) {
    const auto* x = reinterpret_cast<const __m256i*>(columns[t].rounded + k);
    firstProducts[t] = _mm256_add_epi32(firstProducts[t], multiply(first, _mm256_load_si256(x)));
    lastProducts[t] = _mm256_add_epi32(lastProducts[t], multiply(last, _mm256_load_si256(x + 1)));
  }
  return values + __builtin_popcountll(kept);
}

/** One step (blockInputs, at least 64) of inputs from k on. */
template <long blockInputs, int words, int tokens>
inline const int8_t* multiplyStep(const uint8_t* mask, const int8_t* values, const float* scales,
                                  const Columns* columns, long k, __m256* sums) {
  __m256i products[2][tokens];
  for (int t = 0; t < tokens; t++) products[0][t] = products[1][t] = _mm256_setzero_si256();
  const auto endBlock = [&](__m256i* of, long block) {
    for (int t = 0; t < tokens; t++) {
      const float factor = columns[t].blockScales[block] * (scales ? scales[block] : 1.0f);
      sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(of[t]), _mm256_set1_ps(factor), sums[t]);
    }
  };
  constexpr bool isSplit = blockInputs == 32;
#pragma GCC unroll 2
  for (int word = 0; word < words; word++)
    values = multiplyWord<tokens>(mask + word * 8, values, columns, k + word * 64, products[0], products[isSplit]);
  endBlock(products[0], k / blockInputs);
  if (isSplit) endBlock(products[1], k / blockInputs + 1);
  return values;
}

/**
 * One row for all tokens; `scales` (blocks) of the weights, or null where one scale serves the row. Returns the values
 * of the next. Not inline: with the loop over rows around it gcc runs out of registers.
 */
template <long blockInputs, int tokens>
__attribute__((noinline)) const int8_t* row(const uint8_t* mask, long maskBytes, const int8_t* values,
                                            const float* scales, const Columns* columns, float* y) {
  constexpr int words = blockInputs == 128 ? 2 : 1;
  constexpr long bytes = 8 * words;
  Columns own[tokens];
  __m256 sums[tokens];
  for (int t = 0; t < tokens; t++) {
    own[t] = columns[t];
    sums[t] = _mm256_setzero_ps();
  }
  const long whole = maskBytes & -bytes;
  for (long b = 0; b < whole; b += bytes) {
    values = multiplyStep<blockInputs, words, tokens>(mask + b, values, scales, own, b * 8, sums);
    prefetchAhead(values);
    if ((b & 63) == 0) prefetchAhead(mask + b);
  }
  if (whole < maskBytes) {
    uint8_t rest[16] = {};
    std::memcpy(rest, mask + whole, static_cast<size_t>(maskBytes - whole));
    values = maskBytes - whole > 8
                 ? multiplyStep<blockInputs, words, tokens>(rest, values, scales, own, whole * 8, sums)
                 : multiplyStep<blockInputs, 1, tokens>(rest, values, scales, own, whole * 8, sums);
  }
  for (int t = 0; t < tokens; t++) y[t] = sumOf(sums[t]);
  return values;
}

/** Values of rows as bytes where 16 can be read wherever a row ends; nibbles of several rows are unpacked at once. */
struct Bytes {
  int8_t* scratch;
  long begin;  // element that the scratch begins with
  long end;    // row behind its last

  const int8_t* of(const Stack& stack, long row, long endRow) {
    const long first = stack.rowBegin(row);
    if (stack.type == ValueType::int4) {
      if (row == end) fill(stack, row, endRow);
      return scratch + (begin & 1) + (first - begin);
    }
    const int8_t* values = static_cast<const int8_t*>(stack.values) + first;
    if (stack.rowEnd(row) + 16 <= stack.valueCount) return values;
    std::memcpy(scratch, values, static_cast<size_t>(stack.rowEnd(row) - first));
    return scratch;
  }

 private:
  void fill(const Stack& stack, long row, long endRow) {
    begin = stack.rowBegin(row);
    end = row + 1;
    while (end < endRow && stack.rowEnd(end) - begin <= kUnpackedBytes) end++;
    unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin,
                  stack.rowEnd(end - 1) - begin, scratch);
  }
};

/** `blocks` scales of a row, those of blocks beyond the last group 0: their inputs are padding. */
void widenScales(const Stack& stack, long at, long blockInputs, long blocks, float* out) {
  const uint16_t* scales = stack.scales + at * stack.groups;
  const long perGroup = stack.groupSize / blockInputs;
  const long there = (stack.experts * stack.outputs - at) * stack.groups;  // up to the end of the tensor
  long block = 0;
  long group = 0;
  for (; perGroup == 1 && group < stack.groups && group + 8 <= there; group += 8)
    _mm256_storeu_ps(out + group, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + group))));
  if (group > 0) block = group = group < stack.groups ? group : stack.groups;
  for (; group < stack.groups; group++) {
    const float scale = _cvtsh_ss(scales[group]);
    for (long b = 0; b < perGroup && block < blocks; b++) out[block++] = scale;
  }
  for (; block < blocks; block++) out[block] = 0;
}

template <long blockInputs, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const Inputs& inputs = *task.inputs;
  Bytes bytes{static_cast<int8_t*>(task.scratch), 0, task.row};
  auto* scales = reinterpret_cast<float*>(bytes.scratch + unpackedBytes(inputs.padded));
  Columns columns[tokens];
  for (int t = 0; t < tokens; t++)
    columns[t] = {inputs.rounded + tokenAt(task, t) * inputs.padded,
                  inputs.blockScales + tokenAt(task, t) * (inputs.padded / blockInputs)};
  for (long r = 0; r < task.rows; r++) {
    const long at = task.row + r;
    const int8_t* values = bytes.of(stack, at, task.row + task.rows);
    const bool hasGroups = stack.groupSize > 0;
    if (hasGroups) widenScales(stack, at, blockInputs, inputs.padded / blockInputs, scales);
    float y[tokens];
    row<blockInputs, tokens>(stack.mask + at * stack.maskBytes, stack.maskBytes, values, hasGroups ? scales : nullptr,
                             columns, y);
    const float rowScale = hasGroups ? 1.0f : _cvtsh_ss(stack.scales[at]);
    for (int t = 0; t < tokens; t++) task.y[tokenAt(task, t) * task.yStride + task.column + r] = y[t] * rowScale;
  }
}

using Rows = void (*)(const RowsTask&);
template <long block>
constexpr Rows kRows[] = {rowsFor<block, 1>, rowsFor<block, 2>, rowsFor<block, 3>, rowsFor<block, 4>,
                          rowsFor<block, 8>};

}  // namespace

void integerRows(const RowsTask& task) {
  const long block = task.inputs->blockInputs;
  const Rows* kernels = block == 128 ? kRows<128> : block == 64 ? kRows<64> : kRows<32>;
  kernels[kernelFor(task.tokenCount)](task);
}

}  // namespace spexpand::avx2
