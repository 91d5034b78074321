#include "kernels/isa.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "kernels/tiles.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace spexpand {

bool fail(Error& error, const char* format, ...) {
  if (error) return false;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error.text, sizeof error.text, format, arguments);
  va_end(arguments);
  return false;
}

namespace {

#if defined(__x86_64__)
bool hasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool hasAvx512() {
  return hasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
}

bool hasAmx() { return hasAvx512() && __builtin_cpu_supports("avx512bf16") && hasTiles(); }
#elif defined(__aarch64__) && defined(__linux__)
bool hasDot() {
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP, which old headers lack
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
}
#elif defined(__aarch64__) && defined(__APPLE__)
bool hasDot() {
  int isThere = 0;
  size_t size = sizeof isThere;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &isThere, &size, nullptr, 0) == 0 && isThere != 0;
}
#elif defined(__aarch64__)
bool hasDot() { return false; }
#endif

}  // namespace

const Isa* isaNamed(const char* name, Error& error) {
  if (std::strcmp(name, "scalar") == 0) return &kScalar;
#if defined(__x86_64__)
  if (std::strcmp(name, "avx2") == 0 && hasAvx2()) return &kAvx2;
  if (std::strcmp(name, "avx512") == 0 && hasAvx512()) return &kAvx512;
  if (std::strcmp(name, "amx") == 0 && hasAmx()) return &kAmx;
#elif defined(__aarch64__)
  if (std::strcmp(name, "neon") == 0) return &kNeon;
  if (std::strcmp(name, "neon-dot") == 0 && hasDot()) return &kNeonDot;
#endif
  bool isKnown = false;
  for (const char* known : {"avx2", "avx512", "amx", "neon", "neon-dot"})
    isKnown = isKnown || std::strcmp(name, known) == 0;
  fail(error, isKnown ? "Cannot use the instruction set \"%s\" of SPEXPAND_ISA: this processor does not have all of it"
                      : "Cannot use the instruction set \"%s\" of SPEXPAND_ISA: expected scalar, avx2, avx512, "
                        "amx, neon or neon-dot",
       name);
  return nullptr;
}

const Isa* chooseIsa(Error& error) {
  const char* wanted = std::getenv("SPEXPAND_ISA");
  if (wanted && *wanted) return isaNamed(wanted, error);
#if defined(__x86_64__)
  if (hasAmx()) return &kAmx;
  if (hasAvx512()) return &kAvx512;
  if (hasAvx2()) return &kAvx2;
  return &kScalar;
#elif defined(__aarch64__)
  return hasDot() ? &kNeonDot : &kNeon;
#else
  return &kScalar;
#endif
}

}  // namespace spexpand
