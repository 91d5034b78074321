// int8 and int4 values times rounded inputs on AVX2: shuffles from a table lay 32 values in their places, vpmaddubsw
// multiplies magnitudes by inputs that took the signs.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

inline __m128i expandEight(const int8_t* values, unsigned kept) {
  const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  return _mm_shuffle_epi8(packed, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kShuffles.bytes[kept])));
}

/** 32 weights of four mask bytes; `before`: kept ones before each byte. */
inline __m256i expand(const int8_t* values, const uint8_t* kept, const uint8_t* before) {
  __m128i parts[4];
  for (int i = 0; i < 4; i++) parts[i] = expandEight(values + before[i], kept[i]);
  return _mm256_set_m128i(_mm_unpacklo_epi64(parts[2], parts[3]), _mm_unpacklo_epi64(parts[0], parts[1]));
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

/** One row for all tokens; `scales` (blocks) of the weights, or null where one scale serves the row. */
template <long blockInputs, int tokens>
void row(const uint8_t* mask, long maskBytes, const int8_t* values, const float* scales, const Columns* columns,
         float* y) {
  constexpr long words = blockInputs == 128 ? 2 : 1;
  __m256 sums[tokens];
  for (int t = 0; t < tokens; t++) sums[t] = _mm256_setzero_ps();
  for (long b = 0; b < maskBytes; b += 8 * words) {
    __m256i products[tokens];
    for (int t = 0; t < tokens; t++) products[t] = _mm256_setzero_si256();
    const auto endBlock = [&](long block) {
      for (int t = 0; t < tokens; t++) {
        const float factor = columns[t].blockScales[block] * (scales ? scales[block] : 1.0f);
        sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[t]), _mm256_set1_ps(factor), sums[t]);
        products[t] = _mm256_setzero_si256();
      }
    };
    for (long word = 0; word < words; word++) {
      const uint64_t kept = maskAt(mask, maskBytes, b + word * 8, 8);
      const uint64_t counts = countUpTo(kept);
      const EightBytes eights(kept), before(counts << 8);
      for (int half = 0; half < 2; half++) {
        const __m256i weights = expand(values, eights.bytes + half * 4, before.bytes + half * 4);
        for (int t = 0; t < tokens; t++) {
          const auto* x = reinterpret_cast<const __m256i*>(columns[t].rounded + (b + word * 8) * 8 + half * 32);
          products[t] = _mm256_add_epi32(products[t], multiply(weights, _mm256_load_si256(x)));
        }
        if (blockInputs == 32) endBlock(b / 4 + half);
      }
      values += counts >> 56;
      prefetchAhead(values);
    }
    prefetchAhead(mask + b);
    if (blockInputs > 32) endBlock(b * 8 / blockInputs);
  }
  for (int t = 0; t < tokens; t++) y[t] = sumOf(sums[t]);
}

/** Values of rows as bytes where 8 can be read wherever a row ends; nibbles of several rows are unpacked at once. */
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
    if (stack.rowEnd(row) + 8 <= stack.valueCount) return values;
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
  long block = 0;
  for (long group = 0; group < stack.groups; group++) {
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
