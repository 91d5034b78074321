// One row of a stack as f32 on AVX-512.
#include "kernels/expand.avx512.h"
#include "kernels/half.h"

namespace spexpand::avx512 {

namespace {

inline __m512 widenBf16(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

template <bool isBf16>
inline void writeWords(__m512i halves, float* out) {
  const __m256i low = _mm512_castsi512_si256(halves);
  const __m256i high = _mm512_extracti64x4_epi64(halves, 1);
  _mm512_storeu_ps(out, isBf16 ? widenBf16(low) : _mm512_cvtph_ps(low));
  _mm512_storeu_ps(out + 16, isBf16 ? widenBf16(high) : _mm512_cvtph_ps(high));
}

template <bool isBf16, bool isLast>
void decodeWords(const Stack& stack, long row, float* out) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  const uint16_t* values = static_cast<const uint16_t*>(stack.values) + stack.rowBegin(row);
  for (long byte = 0; byte < stack.maskBytes; byte += 8, out += 64) {
    const uint64_t kept = maskAt(mask, stack.maskBytes, byte);
    const auto first = static_cast<uint32_t>(kept);
    writeWords<isBf16>(expandWords<isLast>(values, first), out);
    values += __builtin_popcount(first);
    writeWords<isBf16>(expandWords<isLast>(values, static_cast<uint32_t>(kept >> 32)), out + 32);
    values += __builtin_popcount(static_cast<uint32_t>(kept >> 32));
    prefetchAhead(values);
  }
}

/** The scale of the group of input k; beyond K, where there are no weights, any number. */
inline __m512 scaleAt(const Stack& stack, long row, long k) {
  const long group = stack.groupSize ? k / stack.groupSize : 0;
  return _mm512_set1_ps(group < stack.groups ? f16ToFloat(stack.scales[row * stack.groups + group]) : 0);
}

template <Source source>
void decodeBytes(const Stack& stack, long row, const int8_t* values, float* out) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  const __m512i offset = _mm512_set1_epi8(source == Source::nibbles ? 8 : -128);
  for (long byte = 0; byte < stack.maskBytes; byte += 8) {
    const uint64_t kept = maskAt(mask, stack.maskBytes, byte);
    alignas(64) int8_t weights[64];
    _mm512_store_si512(weights, _mm512_sub_epi8(expandBytes<source>(values, kept), offset));
    values += __builtin_popcountll(kept);
    prefetchAhead(values);
    for (long part = 0; part < 4; part++) {
      // A group has at least 32 inputs, so 16 of them share a scale.
      const __m128i sixteen = _mm_load_si128(reinterpret_cast<const __m128i*>(weights) + part);
      const __m512 numbers = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen));
      const long k = byte * 8 + part * 16;
      _mm512_storeu_ps(out + k, _mm512_mul_ps(numbers, scaleAt(stack, row, k)));
    }
  }
}

}  // namespace

void decodeRow(const Stack& stack, long row, float* out, long padded, void* scratch) {
  const long begin = stack.rowBegin(row);
  const long end = stack.rowEnd(row);
  const bool isInside = end + 64 <= stack.valueCount;
  switch (stack.type) {
    case ValueType::f16:
      isInside ? decodeWords<false, false>(stack, row, out) : decodeWords<false, true>(stack, row, out);
      break;
    case ValueType::bf16:
      isInside ? decodeWords<true, false>(stack, row, out) : decodeWords<true, true>(stack, row, out);
      break;
    case ValueType::int8: {
      const int8_t* values = static_cast<const int8_t*>(stack.values) + begin;
      isInside ? decodeBytes<Source::bytes>(stack, row, values, out)
               : decodeBytes<Source::lastBytes>(stack, row, values, out);
      break;
    }
    case ValueType::int4: {
      auto* bytes = static_cast<int8_t*>(scratch);
      unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin, end - begin, bytes);
      decodeBytes<Source::nibbles>(stack, row, bytes + (begin & 1), out);
      break;
    }
  }
  for (long k = (stack.maskBytes + 7) / 8 * 64; k < padded; k += 16) _mm512_storeu_ps(out + k, _mm512_setzero_ps());
}

}  // namespace spexpand::avx512
