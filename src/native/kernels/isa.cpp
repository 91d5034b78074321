#include "kernels/isa.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

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
         __builtin_cpu_supports("avx512vnni");
}
#endif

}  // namespace

const Isa* isaNamed(const char* name, Error& error) {
  if (std::strcmp(name, "scalar") == 0) return &kScalar;
#if defined(__x86_64__)
  if (std::strcmp(name, "avx2") == 0 && hasAvx2()) return &kAvx2;
  if (std::strcmp(name, "avx512") == 0 && hasAvx512()) return &kAvx512;
#endif
  const bool isKnown = std::strcmp(name, "avx2") == 0 || std::strcmp(name, "avx512") == 0;
  fail(error, isKnown ? "Cannot use the instruction set \"%s\" of SPEXPAND_ISA: this processor does not have all of it"
                      : "Cannot use the instruction set \"%s\" of SPEXPAND_ISA: expected scalar, avx2 or avx512",
       name);
  return nullptr;
}

const Isa* chooseIsa(Error& error) {
  const char* wanted = std::getenv("SPEXPAND_ISA");
  if (wanted && *wanted) return isaNamed(wanted, error);
#if defined(__x86_64__)
  if (hasAvx512()) return &kAvx512;
  if (hasAvx2()) return &kAvx2;
#endif
  return &kScalar;
}

}  // namespace spexpand
