// Rows as f32, and rows that are stored dense, on AVX-512.

#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

namespace {

inline __m512 widenBf16(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/** `count` (0 … 16) values from element `at` on as f32. */
inline __m512 valuesAt(const Stack& stack, long at, long count) {
  const auto there = static_cast<__mmask16>(lowBits64(count));
  switch (stack.type) {
    case ValueType::f16:
      return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, static_cast<const uint16_t*>(stack.values) + at));
    case ValueType::bf16:
      return widenBf16(_mm256_maskz_loadu_epi16(there, static_cast<const uint16_t*>(stack.values) + at));
    case ValueType::int8:
      return _mm512_cvtepi32_ps(
          _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(there, static_cast<const int8_t*>(stack.values) + at)));
    case ValueType::int4: break;
  }
  const auto* packed = static_cast<const uint8_t*>(stack.values) + at / 2;
  const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>(lowBits64((at % 2 + count + 1) / 2)), packed);
  // The nibbles of 16 elements lie in 8 bytes and, from an odd one on, in half of a ninth.
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i nibble = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(at % 2)));
  const __m512i byte = _mm512_permutexvar_epi8(_mm512_srli_epi32(nibble, 1), _mm512_castsi128_si512(bytes));
  const __m512i shift = _mm512_slli_epi32(_mm512_and_si512(nibble, _mm512_set1_epi32(1)), 2);
  const __m512i four = _mm512_and_si512(_mm512_srlv_epi32(byte, shift), _mm512_set1_epi32(15));
  const __m512i eight = _mm512_set1_epi32(8);
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_xor_si512(four, eight), eight));
}

inline __m512 denseAt(DenseType type, const void* weights, long at, __mmask16 there) {
  if (type == DenseType::f32) return _mm512_maskz_loadu_ps(there, static_cast<const float*>(weights) + at);
  const __m256i halves = _mm256_maskz_loadu_epi16(there, static_cast<const uint16_t*>(weights) + at);
  return type == DenseType::f16 ? _mm512_cvtph_ps(halves) : widenBf16(halves);
}

inline long bytesOf(DenseType type) { return type == DenseType::f32 ? 4 : 2; }

template <DenseType type>
float dotOf(const void* weights, const float* x, long count) {
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  long i = 0;
  for (; i + 64 <= count; i += 64) {
    prefetchAhead(static_cast<const char*>(weights) + i * bytesOf(type));
    for (int part = 0; part < 4; part++)
      sums[part] = _mm512_fmadd_ps(denseAt(type, weights, i + part * 16, 0xffff), _mm512_loadu_ps(x + i + part * 16),
                                   sums[part]);
  }
  for (; i < count; i += 16) {
    const auto there = static_cast<__mmask16>(lowBits64(count - i));
    sums[0] = _mm512_fmadd_ps(denseAt(type, weights, i, there), _mm512_maskz_loadu_ps(there, x + i), sums[0]);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

template <DenseType type>
void axpyOf(float a, const void* weights, float* y, long count) {
  const __m512 factor = _mm512_set1_ps(a);
  for (long i = 0; i < count; i += 16) {
    const auto there = static_cast<__mmask16>(lowBits64(count - i));
    const __m512 sum = _mm512_fmadd_ps(factor, denseAt(type, weights, i, there), _mm512_maskz_loadu_ps(there, y + i));
    _mm512_mask_storeu_ps(y + i, there, sum);
  }
}

}  // namespace

void decodeRow(const Stack& stack, long row, float* out, long padded, void*) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  long at = stack.rowBegin(row);
  for (long k = 0; k < padded; k += 16) {
    const auto kept = static_cast<__mmask16>(loadRest(mask + k / 8, stack.maskBytes - k / 8 < 2 ? stack.maskBytes - k / 8 : 2));
    const long count = __builtin_popcount(kept);
    __m512 weights = _mm512_maskz_expand_ps(kept, valuesAt(stack, at, count));
    if (stack.scales) {
      // A group has at least 32 inputs, so 16 of them share a scale; beyond K there are no weights.
      const long group = stack.groupSize ? k / stack.groupSize : 0;
      const float scale = group < stack.groups ? f16ToFloat(stack.scales[row * stack.groups + group]) : 0;
      weights = _mm512_mul_ps(weights, _mm512_set1_ps(scale));
    }
    _mm512_storeu_ps(out + k, weights);
    at += count;
  }
}

float dot(DenseType type, const void* weights, const float* x, long count) {
  switch (type) {
    case DenseType::f32: return dotOf<DenseType::f32>(weights, x, count);
    case DenseType::f16: return dotOf<DenseType::f16>(weights, x, count);
    case DenseType::bf16: return dotOf<DenseType::bf16>(weights, x, count);
  }
  return 0;
}

void axpy(DenseType type, float a, const void* weights, float* y, long count) {
  switch (type) {
    case DenseType::f32: return axpyOf<DenseType::f32>(a, weights, y, count);
    case DenseType::f16: return axpyOf<DenseType::f16>(a, weights, y, count);
    case DenseType::bf16: return axpyOf<DenseType::bf16>(a, weights, y, count);
  }
}

}  // namespace spexpand::avx512

namespace spexpand {

const Isa kAvx512 = {"avx512", true, avx512::halfRows, avx512::integerRows, avx512::decodeRow, avx512::dot, avx512::axpy};

}  // namespace spexpand
