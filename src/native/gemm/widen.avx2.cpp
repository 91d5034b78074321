#include <immintrin.h>

#include "gemm/widen.h"
#include "kernels/half.h"

namespace spexpand::gemm {

void widenF16Avx2(const uint16_t* from, long count, float* to) {
  long i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  for (; i < count; i++) to[i] = f16ToFloat(from[i]);
}

}  // namespace spexpand::gemm
