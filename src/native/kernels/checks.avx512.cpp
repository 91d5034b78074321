// What the checks of a stack count, on AVX-512.
#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

long countBits(const uint8_t* mask, long bytes) {
  __m512i count = _mm512_setzero_si512();
  long i = 0;
  for (; i + 64 <= bytes; i += 64) count = _mm512_add_epi64(count, _mm512_popcnt_epi64(_mm512_loadu_si512(mask + i)));
  const __m512i rest = _mm512_maskz_loadu_epi8(lowBits64(bytes - i), mask + i);
  return _mm512_reduce_add_epi64(_mm512_add_epi64(count, _mm512_popcnt_epi64(rest)));
}

bool allFinite(const uint16_t* numbers, long count, uint16_t exponent) {
  const __m512i all = _mm512_set1_epi16(static_cast<short>(exponent));
  __mmask32 bad = 0;
  long i = 0;
  for (; i + 32 <= count; i += 32) {
    prefetchAhead(numbers + i);
    bad |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(_mm512_loadu_si512(numbers + i), all), all);
  }
  const __m512i rest = _mm512_maskz_loadu_epi16(lowBits32(static_cast<int>(count - i)), numbers + i);
  return (bad | _mm512_cmpeq_epi16_mask(_mm512_and_si512(rest, all), all)) == 0;
}

}  // namespace spexpand::avx512
