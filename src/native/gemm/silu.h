// gate[i] = silu(gate[i]) · up[i], silu(x) = x / (1 + e^-x), within 3 units in the last place of f32.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

void spexpand_silu_multiply(long count, float* gate, const float* up);

#ifdef __cplusplus
}
#endif

namespace spexpand::gemm {
void siluMultiplyScalar(long count, float* gate, const float* up);
#if defined(__x86_64__)
void siluMultiplyAvx512(long count, float* gate, const float* up);
#endif
}  // namespace spexpand::gemm
