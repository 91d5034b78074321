// The dense product as plain loops: the driver tests the sparse kernels alone. src/native/gemm has its own tests.
#include "gemm/gemm.h"

void spexpand_sgemm(bool transA, bool transB, long m, long n, long k, float alpha, const float* A, long lda,
                    const float* B, long ldb, float beta, float* C, long ldc, bool) {
  for (long i = 0; i < m; i++)
    for (long j = 0; j < n; j++) {
      double sum = 0;
      for (long l = 0; l < k; l++)
        sum += static_cast<double>(transA ? A[l * lda + i] : A[i * lda + l]) * (transB ? B[j * ldb + l] : B[l * ldb + j]);
      C[i * ldc + j] = static_cast<float>(alpha * sum + (beta == 0 ? 0 : beta * C[i * ldc + j]));
    }
}
