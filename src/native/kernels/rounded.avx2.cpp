// Inputs rounded to int8 on AVX2. Its kernels multiply signed numbers: they take no corrections.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rounded.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

/** The largest magnitude; they order like their bits, NaN above all. */
inline float largest(const float* x, long count) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i most = _mm256_setzero_si256();
  for (long i = 0; i < count; i += 8) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
    most = _mm256_max_epu32(most, _mm256_and_si256(bits, magnitude));
  }
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1));
  return bitsToFloat(static_cast<uint32_t>(_mm_cvtsi128_si32(four)));
}

inline __m256i roundEight(const float* x, __m256 inverse) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
}

inline float roundBlock(const float* x, long count, int8_t* rounded) {
  const float most = largest(x, count);
  if (!(most < __builtin_inff())) {
    std::memset(rounded, 0, static_cast<size_t>(count));
    return __builtin_nanf("");
  }
  const __m256 inverse = _mm256_set1_ps(most > kLeastBlock ? 127.0f / most : 0.0f);
  // Packing takes fours from the two halves of vectors by turns: this puts them back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (long i = 0; i < count; i += 32) {
    const __m256i a = _mm256_packs_epi32(roundEight(x + i, inverse), roundEight(x + i + 8, inverse));
    const __m256i b = _mm256_packs_epi32(roundEight(x + i + 16, inverse), roundEight(x + i + 24, inverse));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rounded + i), bytes);
  }
  return most > kLeastBlock ? most / 127.0f : 0.0f;
}

}  // namespace

void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t*) {
  const long inputs = rounding.blockInputs;
  for (long block = 0; block < rounding.padded / inputs; block++)
    scales[block] = roundBlock(x + block * inputs, inputs, rounded + block * inputs);
}

}  // namespace spexpand::avx2
