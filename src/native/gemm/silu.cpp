#include "gemm/silu.h"

#include <cmath>
#include <cstring>

#include "gemm/gemm.h"

namespace spexpand::gemm {

void siluMultiplyScalar(long count, float* gate, const float* up) {
  for (long i = 0; i < count; i++) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

}  // namespace spexpand::gemm

void spexpand_silu_multiply(long count, float* gate, const float* up) {
#if defined(__x86_64__)
  // The tiles' machines have AVX-512, and only beside tiles does it matter.
  if (std::strcmp(spexpand_gemm_isa(), "amx") == 0) return spexpand::gemm::siluMultiplyAvx512(count, gate, up);
#endif
  spexpand::gemm::siluMultiplyScalar(count, gate, up);
}
