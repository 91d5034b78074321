#include "gemm/gemm.h"

#include <cstdlib>
#include <cstring>

#include "gemm/backend.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace spexpand::gemm {

namespace {

struct Backend {
  const char* name;
  Multiply multiply;
};

#if defined(__x86_64__)
/** AMX needs bf16 tiles in the processor (leaf 7, EDX bits 22 and 24) and a permission for the process from Linux. */
bool hasAmx() {
#if defined(__linux__)
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool inProcessor = (d >> 22 & 1) && (d >> 24 & 1);
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return inProcessor && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/** SPEXPAND_GEMM_ISA names one for tests; what the processor lacks is not taken, and gemm_isa() says what was. */
Backend choose() {
  const char* wanted = std::getenv("SPEXPAND_GEMM_ISA");
  const auto allows = [&](const char* name) { return !wanted || !*wanted || std::strcmp(wanted, name) == 0; };
#if defined(__x86_64__)
  if (allows("amx") && hasAvx512() && hasAmx()) return {"amx", multiplyAmx};
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
  const Product p{transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, false, fast};
  if (m == 0 || n == 0) return;
  if (k == 0 || alpha == 0) return scaleOnly(p);
  backend().multiply(p);
}

void spexpand_gram(long rows, long n, const float* X, long ldx, float* C, bool fast) {
  if (rows == 0 || n == 0) return;
  backend().multiply({true, false, n, n, rows, 1, X, ldx, X, ldx, 1, C, n, true, fast});
}

const char* spexpand_gemm_isa() { return backend().name; }
