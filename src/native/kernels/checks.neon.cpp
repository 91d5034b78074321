// What the checks of a stack count, on NEON.
#include "kernels/rows.neon.h"

namespace spexpand::neon {

long countBits(const uint8_t* mask, long bytes) {
  uint32x4_t counts = vdupq_n_u32(0);
  long i = 0;
  for (; i + 16 <= bytes; i += 16) counts = vpadalq_u16(counts, vpaddlq_u8(vcntq_u8(vld1q_u8(mask + i))));
  long count = static_cast<long>(vaddvq_u32(counts));
  for (; i < bytes; i++) count += __builtin_popcount(mask[i]);
  return count;
}

bool allFinite(const uint16_t* numbers, long count, uint16_t exponent) {
  const uint16x8_t all = vdupq_n_u16(exponent);
  uint16x8_t bad = vdupq_n_u16(0);
  long i = 0;
  for (; i + 8 <= count; i += 8) bad = vorrq_u16(bad, vceqq_u16(vandq_u16(vld1q_u16(numbers + i), all), all));
  bool isBad = vmaxvq_u16(bad) != 0;
  for (; i < count; i++) isBad |= (numbers[i] & exponent) == exponent;
  return !isBad;
}

}  // namespace spexpand::neon
