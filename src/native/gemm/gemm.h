// C (m, n) = alpha · op(A) (m, k) · op(B) (k, n) + beta · C, row-major, f32 in and out.
//
// Single-threaded and reentrant; the bytes of the result depend on the shapes and the processor only. A is stored (m, k)
// with row stride lda, or (k, m) when transA; B likewise. beta 0 never reads C. With AMX tiles, every f32 is the exact
// sum of three bf16 parts and six of the nine products of parts are summed in f32: what is left out is at most
// 2^-23 of |a|·|b|, two roundings of an f32 product. `fast` allows two parts and three products: 3 · 2^-16 of |a|·|b|
// (TF32: 2^-10).
//
// Where f32 is not needed at all, `parts` 1 takes the product of operands rounded to bf16.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

void spexpand_sgemm(bool transA, bool transB, long m, long n, long k, float alpha, const float* A, long lda,
                    const float* B, long ldb, float beta, float* C, long ldc, bool fast);

/** The lower triangle of C (n, n) += Xᵀ X with X (rows, n), row stride ldx, of 1 to 3 bf16 parts of every number. */
void spexpand_gram(long rows, long n, const float* X, long ldx, float* C, int parts);

/** The instruction set in use: "amx", "avx512", "avx2" or "scalar". */
const char* spexpand_gemm_isa();

#ifdef __cplusplus
}
#endif
