#include <immintrin.h>

#include <initializer_list>

#include "gemm/silu.h"

namespace spexpand::gemm {

namespace {

/** e^x: 2^n · e^r with |r| ≤ ln 2 / 2 and a polynomial of degree 7 (Taylor). 0 and +Inf beyond the range of f32. */
inline __m512 exponential(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
  // ln 2 in two pieces: the first has trailing zeros, so that n times it is exact.
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 5040);
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

}  // namespace

void siluMultiplyAvx512(long count, float* gate, const float* up) {
  const __m512 one = _mm512_set1_ps(1);
  for (long i = 0; i < count; i += 16) {
    const __mmask16 mask = count - i >= 16 ? 0xffff : (1u << (count - i)) - 1;
    const __m512 x = _mm512_maskz_loadu_ps(mask, gate + i);
    const __m512 sum = _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), x)));
    const __m512 y = _mm512_mul_ps(_mm512_div_ps(x, sum), _mm512_maskz_loadu_ps(mask, up + i));
    _mm512_mask_storeu_ps(gate + i, mask, y);
  }
}

}  // namespace spexpand::gemm
