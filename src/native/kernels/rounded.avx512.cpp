// Inputs rounded to int8 on AVX-512.
#include "kernels/half.h"
#include "kernels/rounded.h"
#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

namespace {

/** The largest magnitude; they order like their bits, NaN above all. */
inline float largest(const float* x, long count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512();
  for (long i = 0; i < count; i += 16)
    most = _mm512_max_epu32(most, _mm512_and_si512(_mm512_loadu_si512(x + i), magnitude));
  return bitsToFloat(_mm512_reduce_max_epu32(most));
}

inline float roundBlock(const float* x, long count, int8_t* rounded) {
  const float most = largest(x, count);
  if (!(most < __builtin_inff())) {
    std::memset(rounded, 0, static_cast<size_t>(count));
    return __builtin_nanf("");
  }
  const __m512 inverse = _mm512_set1_ps(most > kLeastBlock ? 127.0f / most : 0.0f);
  for (long i = 0; i < count; i += 16) {
    const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(rounded + i), _mm512_cvtepi32_epi8(integers));
  }
  return most > kLeastBlock ? most / 127.0f : 0.0f;
}

}  // namespace

void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections) {
  const long inputs = rounding.blockInputs;
  for (long block = 0; block < rounding.padded / inputs; block++)
    scales[block] = roundBlock(x + block * inputs, inputs, rounded + block * inputs);
  const long step = stepInputsOf(inputs);
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i factor = _mm512_set1_epi32(-rounding.offset);
  for (long i = 0; i < rounding.padded / step; i++) {
    __m512i sums = _mm512_setzero_si512();
    for (long chunk = 0; chunk < step; chunk += 64)
      sums = _mm512_dpbusd_epi32(sums, ones, _mm512_loadu_si512(rounded + i * step + chunk));
    _mm512_storeu_si512(corrections + i * 16, _mm512_mullo_epi32(sums, factor));
  }
}

}  // namespace spexpand::avx512
