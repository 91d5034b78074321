// f16 and bf16 to f32, exact, by vectors where the processor has them.
#pragma once

#include <cstdint>

namespace spexpand::gemm {

void widenF16(const uint16_t* from, long count, float* to);
void widenBf16(const uint16_t* from, long count, float* to);

#if defined(__x86_64__)
/** Needs AVX2 and F16C. */
void widenF16Avx2(const uint16_t* from, long count, float* to);
#endif

}  // namespace spexpand::gemm
