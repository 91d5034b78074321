// f16 and bf16 in plain C++, for the scalar kernels and the edges of the others.
// Everything is static: a file compiled for AVX-512 must not lend its copy to one that runs anywhere.
#pragma once

#include <cstdint>
#include <cstring>

namespace spexpand {

static inline float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

static inline uint32_t floatToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

static inline float bf16ToFloat(uint16_t half) { return bitsToFloat(static_cast<uint32_t>(half) << 16); }

/** Exact. */
static inline float f16ToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t rest = half & 0x7fff;
  if (rest >= 0x7c00) return bitsToFloat(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  if (rest >= 0x400) return bitsToFloat(sign | ((rest << 13) + (112u << 23)));
  // Below 2⁻¹⁴ the significand counts steps of 2⁻²⁴.
  return bitsToFloat(sign | floatToBits(static_cast<float>(rest) * 0x1p-24f));
}

/** Rounded to nearest, ties to even. */
static inline uint16_t floatToF16(float value) {
  const uint32_t bits = floatToBits(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00;
  if (rest >= 0x477ff000) return sign | 0x7c00;
  if (rest < 0x38800000) {
    // Adding 0.5 leaves steps of 2⁻²⁴ in the low bits, rounded by the addition.
    return sign | static_cast<uint16_t>(floatToBits(bitsToFloat(rest) + 0.5f) - 0x3f000000);
  }
  const uint32_t rounded = rest + 0xfff + (rest >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

/** Element `at` of packed nibbles, low nibble first, two's complement. */
static inline int nibbleAt(const uint8_t* packed, long at) {
  const int nibble = packed[at >> 1] >> (at & 1) * 4 & 15;
  return (nibble ^ 8) - 8;
}

}  // namespace spexpand
