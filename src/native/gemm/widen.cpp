#include "gemm/widen.h"

#include "kernels/half.h"

namespace spexpand::gemm {

void widenF16(const uint16_t* from, long count, float* to) {
#if defined(__x86_64__)
  static const bool hasF16c = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (hasF16c) return widenF16Avx2(from, count, to);
#endif
  for (long i = 0; i < count; i++) to[i] = f16ToFloat(from[i]);
}

void widenBf16(const uint16_t* from, long count, float* to) {
  for (long i = 0; i < count; i++) to[i] = bf16ToFloat(from[i]);
}

}  // namespace spexpand::gemm
