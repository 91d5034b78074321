// Where packed values go: what kernels share that expand by a table of byte shuffles. All static: files of several
// instruction sets include it.
#pragma once

#include <cstdint>
#include <cstring>

namespace spexpand {

/**
 * Shuffles that lay packed values of `width` bytes in the places of 8 mask bits; pruned places take 0 (an index that is
 * out of range). Those of bytes may be read as whole vectors of 16, of which the upper half is another entry and means
 * nothing.
 */
template <int width>
struct Shuffles {
  uint8_t of[256 + 1][8 * width];
};

template <int width>
static constexpr Shuffles<width> makeShuffles() {
  Shuffles<width> all{};
  for (int mask = 0; mask < 256; mask++) {
    int next = 0;
    for (int bit = 0; bit < 8; bit++) {
      const bool isKept = mask >> bit & 1;
      for (int byte = 0; byte < width; byte++)
        all.of[mask][bit * width + byte] = static_cast<uint8_t>(isKept ? next * width + byte : 0x80);
      next += isKept;
    }
  }
  return all;
}

alignas(64) static constexpr auto kByteShuffles = makeShuffles<1>();
alignas(64) static constexpr auto kWordShuffles = makeShuffles<2>();

/** 64 mask bits from byte `byte` of a row on; beyond its end zeros. */
static inline uint64_t maskWord(const uint8_t* mask, long maskBytes, long byte) {
  uint64_t word = 0;
  if (byte + 8 <= maskBytes) std::memcpy(&word, mask + byte, 8);
  else
    for (long i = 0; byte + i < maskBytes; i++) word |= static_cast<uint64_t>(mask[byte + i]) << (8 * i);
  return word;
}

/** Byte i: ones in the bytes 0 … i. One multiplication counts for all eight. */
static inline uint64_t countUpTo(uint64_t kept) {
  uint64_t count = kept - (kept >> 1 & 0x5555555555555555);
  count = (count & 0x3333333333333333) + (count >> 2 & 0x3333333333333333);
  count = (count + (count >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return count * 0x0101010101010101;
}

}  // namespace spexpand
