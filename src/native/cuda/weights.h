// Reads a stack of sparse experts on the device: a word of 32 mask bits at a time.
#pragma once

#include "cuda/device.h"

namespace spexpand {
namespace cuda {

template <ValueType kType>
constexpr bool kIsInteger = kType == ValueType::int8 || kType == ValueType::int4;

/** Bits of a stored value. */
template <ValueType kType>
constexpr int kBits = kType == ValueType::int4 ? 4 : kType == ValueType::int8 ? 8 : 16;

/** The integer in the lowest bits of a word, as a float. */
template <ValueType kType>
SPEXPAND_DEVICE float integerOf(uint32_t word) {
  // 0x4b000000 is 2^23, whose lowest bit counts 1; the sign bit flipped, integers begin at 0.
  constexpr uint32_t kHalf = 1u << (kBits<kType> - 1);
  return floatOf((word & (2 * kHalf - 1)) ^ (0x4b000000u | kHalf)) - (8388608.0f + kHalf);
}

/** Group sizes are multiples of 32: a word of the mask has one scale. */
SPEXPAND_DEVICE float scaleAt(const Stack& stack, long row, int word) {
  // 32 bits: a division of 64 is a hundred instructions.
  const unsigned words = static_cast<unsigned>(stack.groupSize) / kWarp;
  return f16At(stack.scales, row * stack.groups + (words ? static_cast<unsigned>(word) / words : 0));
}

SPEXPAND_DEVICE long wordsPerRow(const Stack& stack) { return (stack.maskBytes + 3) / 4; }

/** Inputs 32 · word … of a row, 0 beyond its last byte. */
SPEXPAND_DEVICE uint32_t maskWord(const Stack& stack, long row, long word) {
  const uint8_t* bytes = stack.mask + row * stack.maskBytes + word * 4;
  if ((reinterpret_cast<uintptr_t>(stack.mask) | static_cast<uintptr_t>(stack.maskBytes)) % 4 == 0)
    return *reinterpret_cast<const uint32_t*>(bytes);
  uint32_t bits = 0;
  for (long i = 0; i < 4 && word * 4 + i < stack.maskBytes; i++) bits |= static_cast<uint32_t>(bytes[i]) << 8 * i;
  return bits;
}

}  // namespace cuda
}  // namespace spexpand
