#include "gemm/blocked.h"

namespace spexpand::gemm {

namespace {
/** Four numbers side by side: compilers turn it into what vectors the target always has. */
struct Vector {
  struct Type {
    float lane[4];
  };
  static constexpr long kWidth = 4;
  static Type load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static void store(float* p, const Type& v) {
    for (int i = 0; i < 4; i++) p[i] = v.lane[i];
  }
  static Type broadcast(float x) { return {{x, x, x, x}}; }
  static Type fma(const Type& a, const Type& b, Type c) {
    for (int i = 0; i < 4; i++) c.lane[i] += a.lane[i] * b.lane[i];
    return c;
  }
};
}  // namespace

void multiplyScalar(const Product& p) { Blocked<Vector, 4, 2>::multiply(p); }

}  // namespace spexpand::gemm
