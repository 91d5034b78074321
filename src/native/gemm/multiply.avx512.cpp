#include <immintrin.h>

#include "gemm/blocked.h"

namespace spexpand::gemm {

namespace {
struct Vector {
  using Type = __m512;
  static constexpr long kWidth = 16;
  static Type load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Type v) { _mm512_storeu_ps(p, v); }
  static Type broadcast(float x) { return _mm512_set1_ps(x); }
  static Type fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
};
}  // namespace

void multiplyAvx512(const Product& p) { Blocked<Vector, 12, 2>::multiply(p); }

}  // namespace spexpand::gemm
