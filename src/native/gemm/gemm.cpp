#include "gemm/gemm.h"

#include <cstdlib>
#include <cstring>

#include "gemm/backend.h"
#include "kernels/tiles.h"

namespace spexpand::gemm {

namespace {

struct Backend {
  const char* name;
  Multiply multiply;
};

#if defined(__x86_64__)
bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/** SPEXPAND_GEMM_ISA names one for tests; what the processor lacks is not taken, and gemm_isa() says what was. */
Backend choose() {
  const char* wanted = std::getenv("SPEXPAND_GEMM_ISA");
  [[maybe_unused]] const auto allows = [&](const char* name) { return !wanted || !*wanted || std::strcmp(wanted, name) == 0; };
#if defined(__x86_64__)
  if (allows("amx") && hasAvx512() && hasTiles()) return {"amx", multiplyAmx};
  if (allows("avx512") && hasAvx512()) return {"avx512", multiplyAvx512};
  if (allows("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {"avx2", multiplyAvx2};
#endif
  return {"scalar", multiplyScalar};
}

const Backend& backend() {
  static const Backend chosen = choose();
  return chosen;
}

}  // namespace

void scaleOnly(const Product& p) {
  for (long i = 0; i < p.m; i++)
    for (long j = 0; j < p.n; j++) {
      float& c = p.C[i * p.ldc + j];
      c = p.beta == 0 ? 0 : p.beta * c;
    }
}

}  // namespace spexpand::gemm

using namespace spexpand::gemm;

void spexpand_sgemm(bool transA, bool transB, long m, long n, long k, float alpha, const float* A, long lda,
                    const float* B, long ldb, float beta, float* C, long ldc, bool fast) {
  const Product p{transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, false, fast ? 2 : 3};
  if (m == 0 || n == 0) return;
  if (k == 0 || alpha == 0) return scaleOnly(p);
  backend().multiply(p);
}

void spexpand_gram(long rows, long n, const float* X, long ldx, float* C, int parts) {
  if (rows == 0 || n == 0) return;
  backend().multiply({true, false, n, n, rows, 1, X, ldx, X, ldx, 1, C, n, true, parts});
}

const char* spexpand_gemm_isa() { return backend().name; }
