// Whether this process may use AMX bf16 tiles.
#pragma once

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace spexpand {

/** bf16 tiles are in the processor (leaf 7, EDX bits 22 and 24), and Linux gives the process their state. */
static inline bool hasTiles() {
#if defined(__x86_64__) && defined(__linux__)
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool isInProcessor = (d >> 22 & 1) && (d >> 24 & 1);
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return isInProcessor && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace spexpand
