#include <immintrin.h>

#include "gemm/blocked.h"

namespace spexpand::gemm {

namespace {
struct Vector {
  using Type = __m256;
  static constexpr long kWidth = 8;
  static Type load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Type v) { _mm256_storeu_ps(p, v); }
  static Type broadcast(float x) { return _mm256_set1_ps(x); }
  static Type fma(Type a, Type b, Type c) { return _mm256_fmadd_ps(a, b, c); }
};
}  // namespace

void multiplyAvx2(const Product& p) { Blocked<Vector, 6, 2>::multiply(p); }

}  // namespace spexpand::gemm
