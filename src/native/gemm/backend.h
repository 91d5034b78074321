// What one instruction set offers; gemm.cpp picks the best that this processor has.
#pragma once

namespace spexpand::gemm {

/** One product: op(A) (m, k) times op(B) (k, n), row strides in elements. */
struct Product {
  bool transA;
  bool transB;
  long m;
  long n;
  long k;
  float alpha;
  const float* A;
  long lda;
  const float* B;
  long ldb;
  float beta;
  float* C;
  long ldc;
  /** Only tiles that touch the lower triangle of C (the tiles on the diagonal are computed whole). */
  bool lowerOnly;
  /** bf16 parts of a number that count, where that is faster (only tiles): 3 is f32. */
  int parts;
};

using Multiply = void (*)(const Product&);

void multiplyScalar(const Product&);
#if defined(__x86_64__)
void multiplyAvx2(const Product&);
void multiplyAvx512(const Product&);
void multiplyAmx(const Product&);
#endif

/** C = beta · C, where nothing is to be added. */
void scaleOnly(const Product&);

}  // namespace spexpand::gemm
