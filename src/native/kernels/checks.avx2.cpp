// What the checks of a stack count, on AVX2: these instruction sets have popcnt, plain x86-64 has not.
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

long countBits(const uint8_t* mask, long bytes) {
  long count = 0;
  long i = 0;
  for (; i + 8 <= bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, mask + i, 8);
    count += __builtin_popcountll(word);
  }
  for (; i < bytes; i++) count += __builtin_popcount(mask[i]);
  return count;
}

bool allFinite(const uint16_t* numbers, long count, uint16_t exponent) {
  int bad = 0;
  for (long i = 0; i < count; i++) bad |= (numbers[i] & exponent) == exponent;
  return bad == 0;
}

}  // namespace spexpand::avx2
