// Checks of the content of a stack in device memory (kernels/verify.h does the same on the CPU): after them no kernel
// can read outside it.
#pragma once

#include "cuda/weights.h"

namespace spexpand {
namespace cuda {

/** What can be wrong with a row, below 8. */
using Flaw = unsigned long long;
constexpr Flaw kOffsets = 0, kPadding = 1, kCount = 2, kEnd = 3, kTail = 4, kFirst = 5, kValue = 6, kScale = 7;
constexpr Flaw kNoFlaw = ~0ull;

/** All exponent bits set, infinity or NaN, in any of `count` halves. Lanes share the work; true in every lane. */
SPEXPAND_DEVICE bool anyInfinite(const void* halves, long from, long count, unsigned exponent) {
  int bad = 0;
  for (long i = laneOf(); i < count; i += kWarp)
    bad |= (static_cast<const uint16_t*>(halves)[from + i] & exponent) == exponent;
  return warpSum(bad) != 0;
}

/** Kept weights, by a warp. */
SPEXPAND_DEVICE long countKept(const Stack& stack, long row) {
  int kept = 0;
  for (long word = laneOf(); word < wordsPerRow(stack); word += kWarp) kept += __popc(maskWord(stack, row, word));
  return warpSum(kept);
}

/** The values end where the last row does. `stored`: elements of the values tensor, bytes for int4. */
SPEXPAND_DEVICE Flaw flawOfEnd(const Stack& stack, long stored, long kept) {
  if (stack.type != ValueType::int4) return 1 + kept == stored ? kNoFlaw : kEnd;
  if ((1 + kept + 1) / 2 != stored) return kEnd;
  const bool isOdd = (1 + kept) % 2 != 0;
  return isOdd && static_cast<const uint8_t*>(stack.values)[stored - 1] > 15 ? kTail : kNoFlaw;
}

SPEXPAND_DEVICE bool startsWithZero(const Stack& stack) {
  const auto* bytes = static_cast<const uint8_t*>(stack.values);
  if (stack.type == ValueType::int4) return (bytes[0] & 15) == 0;
  return stack.type == ValueType::int8 ? bytes[0] == 0 : bytes[0] == 0 && bytes[1] == 0;
}

/** The same in all lanes. Offsets are compared as int64 before anything is added: they may be any number. */
SPEXPAND_DEVICE Flaw flawOf(const Stack& stack, long row, long stored) {
  const int64_t most = (stack.type == ValueType::int4 ? 2 * stored : stored) - 1;
  const bool isLast = row + 1 == stack.experts * stack.outputs;
  const int64_t begin = stack.rowOffsets[row];
  const int64_t end = isLast ? most : stack.rowOffsets[row + 1];
  if (begin < 0 || end < begin || end > most || (row == 0 && begin != 0)) return kOffsets;
  const long used = stack.inputs & 7;
  if (used && stack.mask[(row + 1) * stack.maskBytes - 1] >> used) return kPadding;
  const long kept = countKept(stack, row);
  if (!isLast && kept != end - begin) return kCount;
  const Flaw atEnd = isLast ? flawOfEnd(stack, stored, begin + kept) : kNoFlaw;
  if (atEnd != kNoFlaw) return atEnd;
  if (row == 0 && !startsWithZero(stack)) return kFirst;
  const bool isHalf = stack.type == ValueType::f16 || stack.type == ValueType::bf16;
  if (isHalf && anyInfinite(stack.values, 1 + begin, kept, stack.type == ValueType::bf16 ? 0x7f80 : 0x7c00))
    return kValue;
  return !isHalf && anyInfinite(stack.scales, row * stack.groups, stack.groups, 0x7c00) ? kScale : kNoFlaw;
}

constexpr int kVerifyWarps = 8;

/** A warp per row; `first` becomes 8 · row + flaw of the first bad row, and stays kNoFlaw if there is none. */
SPEXPAND_KERNEL verifyRows(const Stack stack, const long stored, unsigned long long* first) {
  const long row = static_cast<long>(blockIdx.x) * kVerifyWarps + warpOf();
  if (row >= stack.experts * stack.outputs) return;
  const Flaw flaw = flawOf(stack, row, stored);
  if (laneOf() == 0 && flaw != kNoFlaw) atomicMin(first, static_cast<Flaw>(row) * 8 + flaw);
}

}  // namespace cuda
}  // namespace spexpand
