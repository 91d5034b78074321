// Rows that are stored dense, on AVX-512.

#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

namespace {

inline __m512 widenBf16(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
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
