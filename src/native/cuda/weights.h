// Reads a stack of sparse experts on the device: a word of 32 mask bits at a time, a lane per input.
#pragma once

#include "cuda/device.h"

namespace spexpand {
namespace cuda {

template <ValueType kType>
SPEXPAND_DEVICE float valueAt(const Stack& stack, long at) {
  if constexpr (kType == ValueType::f16) return f16At(stack.values, at);
  else if constexpr (kType == ValueType::bf16) return bf16At(stack.values, at);
  else if constexpr (kType == ValueType::int8) return static_cast<const int8_t*>(stack.values)[at];
  else {
    const int nibble = static_cast<const uint8_t*>(stack.values)[at >> 1] >> (at & 1) * 4 & 15;
    return static_cast<float>((nibble ^ 8) - 8);
  }
}

/** Group sizes are multiples of 32: a word of the mask has one scale. */
SPEXPAND_DEVICE float scaleAt(const Stack& stack, long row, long word) {
  return f16At(stack.scales, row * stack.groups + (stack.groupSize ? word * kWarp / stack.groupSize : 0));
}

SPEXPAND_DEVICE long wordsPerRow(const Stack& stack) { return (stack.maskBytes + 3) / 4; }

/** Inputs 32 · word … of a row, 0 beyond its last byte. All lanes read the same word: one transaction. */
SPEXPAND_DEVICE uint32_t maskWord(const Stack& stack, long row, long word) {
  const uint8_t* bytes = stack.mask + row * stack.maskBytes + word * 4;
  if ((reinterpret_cast<uintptr_t>(stack.mask) | static_cast<uintptr_t>(stack.maskBytes)) % 4 == 0)
    return *reinterpret_cast<const uint32_t*>(bytes);
  uint32_t bits = 0;
  for (long i = 0; i < 4 && word * 4 + i < stack.maskBytes; i++) bits |= static_cast<uint32_t>(bytes[i]) << 8 * i;
  return bits;
}

/** Kept weights of the word before this lane's. */
SPEXPAND_DEVICE int keptBefore(uint32_t bits, int lane) { return __popc(bits & ((1u << lane) - 1)); }

/** Weight of this lane's input, 0 where pruned; `at`: first value of the word. */
template <ValueType kType>
SPEXPAND_DEVICE float weightAt(const Stack& stack, long row, long word, uint32_t bits, long at, int lane) {
  if (!(bits >> lane & 1)) return 0;
  const float value = valueAt<kType>(stack, at + keptBefore(bits, lane));
  if constexpr (kType == ValueType::int8 || kType == ValueType::int4) return value * scaleAt(stack, row, word);
  else return value;
}

}  // namespace cuda
}  // namespace spexpand
