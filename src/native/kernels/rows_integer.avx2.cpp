// int8 and int4 values times rounded inputs on AVX2: shuffles from a table lay 32 values in their places, vpmaddubsw
// multiplies magnitudes by inputs that took the signs.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

inline __m128i expandEight(const int8_t* values, unsigned kept) {
  const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  return _mm_shuffle_epi8(packed, _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles.bytes[kept])));
}

/** The 32 weights for mask bits `kept`. */
inline __m256i expand(const int8_t* values, uint32_t kept) {
  __m128i parts[4];
  for (int i = 0; i < 4; i++) parts[i] = expandEight(values + before(kept, i), eightAt(kept, i));
  return _mm256_set_m128i(_mm_unpacklo_epi64(parts[2], parts[3]), _mm_unpacklo_epi64(parts[0], parts[1]));
}

/** Sums of four products each. 2 · 128 · 127 fits 16 bits. */
inline __m256i multiply(__m256i weights, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/** `count` elements from `first` on as bytes, at out[first & 1]. Writes up to 32 bytes more. */
void unpackNibbles(const uint8_t* packed, long packedBytes, long first, long count, int8_t* out) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i eight = _mm256_set1_epi8(8);
  const long end = (first + count + 1) / 2;
  long at = first / 2;
  for (; at < end && at + 16 <= packedBytes; at += 16, out += 32) {
    const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + at)));
    prefetchAhead(packed + at);
    const __m256i pairs = _mm256_and_si256(_mm256_or_si256(words, _mm256_slli_epi16(words, 4)), nibble);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_sub_epi8(_mm256_xor_si256(pairs, eight), eight));
  }
  for (; at < end; at++, out += 2) {
    out[0] = static_cast<int8_t>(nibbleAt(packed, 2 * at));
    out[1] = static_cast<int8_t>(nibbleAt(packed, 2 * at + 1));
  }
}

struct Columns {
  const int8_t* rounded;
  const float* blockScales;
};

/** One row for all tokens; `scales` (blocks) of the weights, or null where one scale serves the row. */
template <int tokens>
void row(const uint8_t* mask, long maskBytes, const int8_t* values, long blockInputs, const float* scales,
         const Columns* columns, float* y) {
  __m256 sums[tokens];
  for (int t = 0; t < tokens; t++) sums[t] = _mm256_setzero_ps();
  const long perBlock = blockInputs / 32;
  const long chunks = (maskBytes + 3) / 4;
  for (long first = 0; first < chunks; first += perBlock) {
    __m256i products[tokens];
    for (int t = 0; t < tokens; t++) products[t] = _mm256_setzero_si256();
    const long end = first + perBlock < chunks ? first + perBlock : chunks;
    for (long c = first; c < end; c++) {
      const uint32_t kept = maskAt(mask, maskBytes, c * 4);
      const __m256i weights = expand(values, kept);
      values += __builtin_popcount(kept);
      for (int t = 0; t < tokens; t++) {
        const auto* x = reinterpret_cast<const __m256i*>(columns[t].rounded + c * 32);
        products[t] = _mm256_add_epi32(products[t], multiply(weights, _mm256_load_si256(x)));
      }
    }
    prefetchAhead(values);
    prefetchAhead(mask + first * 4);
    const long block = first / perBlock;
    for (int t = 0; t < tokens; t++) {
      const float factor = columns[t].blockScales[block] * (scales ? scales[block] : 1.0f);
      sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[t]), _mm256_set1_ps(factor), sums[t]);
    }
  }
  for (int t = 0; t < tokens; t++) y[t] = sumOf(sums[t]);
}

/** Values of a row as bytes where 8 can be read wherever it ends. */
const int8_t* bytesOf(const Stack& stack, long begin, long end, int8_t* scratch) {
  if (stack.type == ValueType::int4) {
    unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin, end - begin, scratch);
    return scratch + (begin & 1);
  }
  const int8_t* values = static_cast<const int8_t*>(stack.values) + begin;
  if (end + 8 <= stack.valueCount) return values;
  std::memcpy(scratch, values, static_cast<size_t>(end - begin));
  return scratch;
}

void widenScales(const Stack& stack, long at, long blockInputs, float* out) {
  const uint16_t* scales = stack.scales + at * stack.groups;
  const long blocks = (stack.inputs + blockInputs - 1) / blockInputs;
  const long perGroup = stack.groupSize / blockInputs;
  for (long b = 0; b < blocks; b++) out[b] = _cvtsh_ss(scales[b / perGroup]);
}

template <int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const Inputs& inputs = *task.inputs;
  auto* bytes = static_cast<int8_t*>(task.scratch);
  auto* scales = reinterpret_cast<float*>(bytes + unpackedBytes(inputs.padded));
  Columns columns[tokens];
  for (int t = 0; t < tokens; t++)
    columns[t] = {inputs.rounded + tokenAt(task, t) * inputs.padded,
                  inputs.blockScales + tokenAt(task, t) * (inputs.padded / inputs.blockInputs)};
  for (long r = 0; r < task.rows; r++) {
    const long at = task.row + r;
    const int8_t* values = bytesOf(stack, stack.rowBegin(at), stack.rowEnd(at), bytes);
    const bool hasGroups = stack.groupSize > 0;
    if (hasGroups) widenScales(stack, at, inputs.blockInputs, scales);
    float y[tokens];
    row<tokens>(stack.mask + at * stack.maskBytes, stack.maskBytes, values, inputs.blockInputs,
                hasGroups ? scales : nullptr, columns, y);
    const float rowScale = hasGroups ? 1.0f : _cvtsh_ss(stack.scales[at]);
    for (int t = 0; t < tokens; t++) task.y[tokenAt(task, t) * task.yStride + task.column + r] = y[t] * rowScale;
  }
}

using Rows = void (*)(const RowsTask&);
constexpr Rows kRows[] = {rowsFor<1>, rowsFor<2>, rowsFor<3>, rowsFor<4>, rowsFor<8>};

}  // namespace

void integerRows(const RowsTask& task) { kRows[kernelFor(task.tokenCount)](task); }

}  // namespace spexpand::avx2
