// Rows as f32, and rows that are stored dense, on AVX2.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

/** `count` (0 … 8) values from element `at` on as f32, zeros behind. */
inline __m256 valuesAt(const Stack& stack, long at, long count) {
  alignas(32) float out[8] = {};
  switch (stack.type) {
    case ValueType::f16:
    case ValueType::bf16: {
      uint16_t halves[8] = {};
      std::memcpy(halves, static_cast<const uint16_t*>(stack.values) + at, static_cast<size_t>(count) * 2);
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves));
      return stack.type == ValueType::f16 ? _mm256_cvtph_ps(eight) : widenBf16(eight);
    }
    case ValueType::int8:
      for (long i = 0; i < count; i++) out[i] = static_cast<const int8_t*>(stack.values)[at + i];
      break;
    case ValueType::int4:
      for (long i = 0; i < count; i++)
        out[i] = static_cast<float>(nibbleAt(static_cast<const uint8_t*>(stack.values), at + i));
      break;
  }
  return _mm256_load_ps(out);
}

inline __m256 expand(__m256 values, unsigned kept) {
  const __m128i places = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kShuffles.bytes[kept]));
  // An index of 0x80 becomes negative: its sign clears the place.
  const __m256i index = _mm256_cvtepi8_epi32(places);
  return _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_srai_epi32(index, 31)), _mm256_permutevar8x32_ps(values, index));
}

}  // namespace

void decodeRow(const Stack& stack, long row, float* out, long padded, void*) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  long at = stack.rowBegin(row);
  for (long b = 0; b < stack.maskBytes; b++) {
    const long count = __builtin_popcount(mask[b]);
    __m256 weights = expand(valuesAt(stack, at, count), mask[b]);
    at += count;
    if (stack.scales) {
      // Groups have whole thirty-twos of inputs.
      const long group = stack.groupSize ? b * 8 / stack.groupSize : 0;
      weights = _mm256_mul_ps(weights, _mm256_set1_ps(_cvtsh_ss(stack.scales[row * stack.groups + group])));
    }
    _mm256_storeu_ps(out + b * 8, weights);
  }
  for (long k = stack.maskBytes * 8; k < padded; k++) out[k] = 0;
}

namespace {

template <DenseType type>
inline __m256 denseAt(const void* weights, long at) {
  if (type == DenseType::f32) return _mm256_loadu_ps(static_cast<const float*>(weights) + at);
  const auto* halves = reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(weights) + at);
  return type == DenseType::f16 ? _mm256_cvtph_ps(_mm_loadu_si128(halves)) : widenBf16(_mm_loadu_si128(halves));
}

template <DenseType type>
inline float denseOne(const void* weights, long at) {
  if (type == DenseType::f32) return static_cast<const float*>(weights)[at];
  const uint16_t half = static_cast<const uint16_t*>(weights)[at];
  return type == DenseType::f16 ? f16ToFloat(half) : bf16ToFloat(half);
}

template <DenseType type>
float dotOf(const void* weights, const float* x, long count) {
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  long i = 0;
  for (; i + 32 <= count; i += 32) {
    prefetchAhead(static_cast<const char*>(weights) + i * (type == DenseType::f32 ? 4 : 2));
    for (int part = 0; part < 4; part++)
      sums[part] = _mm256_fmadd_ps(denseAt<type>(weights, i + part * 8), _mm256_loadu_ps(x + i + part * 8), sums[part]);
  }
  for (; i + 8 <= count; i += 8) sums[0] = _mm256_fmadd_ps(denseAt<type>(weights, i), _mm256_loadu_ps(x + i), sums[0]);
  float sum = sumOf(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
  for (; i < count; i++) sum += denseOne<type>(weights, i) * x[i];
  return sum;
}

template <DenseType type>
void axpyOf(float a, const void* weights, float* y, long count) {
  const __m256 factor = _mm256_set1_ps(a);
  long i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, denseAt<type>(weights, i), _mm256_loadu_ps(y + i)));
  for (; i < count; i++) y[i] += a * denseOne<type>(weights, i);
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

}  // namespace spexpand::avx2
