#include "kernels/verify.h"

#include <cstring>

namespace spexpand {

namespace {

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

/** Bits above K in the last byte must be 0. */
bool paddingIsClear(const Stack& stack, const uint8_t* mask) {
  const long used = stack.inputs & 7;
  return used == 0 || mask[stack.maskBytes - 1] >> used == 0;
}

/** All exponent bits set: infinity or NaN. */
bool allFinite(const uint16_t* values, long count, uint16_t exponent) {
  int bad = 0;
  for (long i = 0; i < count; i++) bad |= (values[i] & exponent) == exponent;
  return bad == 0;
}

bool startsWithZero(const Stack& stack) {
  const auto* bytes = static_cast<const uint8_t*>(stack.values);
  if (stack.type == ValueType::int4) return (bytes[0] & 15) == 0;
  return stack.type == ValueType::int8 ? bytes[0] == 0 : bytes[0] == 0 && bytes[1] == 0;
}

bool verifyRow(const Stack& stack, long expert, long n, Error& error) {
  const long row = expert * stack.outputs + n;
  // Compared as int64 before anything is added: an offset may be any number.
  const int64_t kept = stack.valueCount - 1;
  const int64_t begin = stack.rowOffsets[row];
  const int64_t end = row + 1 < stack.experts * stack.outputs ? stack.rowOffsets[row + 1] : kept;
  if (begin < 0 || end < begin || end > kept || (row == 0 && begin != 0))
    return fail(error, "row_offsets of expert %ld row %ld are %lld to %lld, expected ascending from 0 to at most %lld",
                expert, n, static_cast<long long>(begin), static_cast<long long>(end), static_cast<long long>(kept));
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  if (!paddingIsClear(stack, mask))
    return fail(error, "mask of expert %ld row %ld has bits from input %ld on, expected 0", expert, n, stack.inputs);
  const long bits = countBits(mask, stack.maskBytes);
  if (bits != end - begin)
    return fail(error, "mask of expert %ld row %ld keeps %ld weights, row_offsets say %lld", expert, n, bits,
                static_cast<long long>(end - begin));
  return true;
}

}  // namespace

bool completeStack(Stack& stack, long storedValues, Error& error) {
  const long last = stack.experts * stack.outputs - 1;
  const int64_t begin = stack.rowOffsets[last];
  const long most = stack.type == ValueType::int4 ? 2 * storedValues : storedValues;
  if (begin < 0 || begin >= most)
    return fail(error, "row_offsets end with %lld, expected 0 to %ld (values has %ld elements)",
                static_cast<long long>(begin), most - 1, most);
  const long count = 1 + static_cast<long>(begin) + countBits(stack.mask + last * stack.maskBytes, stack.maskBytes);
  const long needed = stack.type == ValueType::int4 ? (count + 1) / 2 : count;
  if (needed != storedValues)
    return fail(error, "values has %ld elements, mask and row_offsets want %ld", storedValues, needed);
  if (stack.type == ValueType::int4 && count % 2 != 0 && static_cast<const uint8_t*>(stack.values)[count / 2] > 15)
    return fail(error, "values has a weight behind the last one of mask and row_offsets, expected 0");
  if (!startsWithZero(stack)) return fail(error, "values does not begin with a 0");
  stack.valueCount = count;
  return true;
}

bool verifyExpert(const Stack& stack, long expert, Error& error) {
  for (long n = 0; n < stack.outputs; n++)
    if (!verifyRow(stack, expert, n, error)) return false;
  const long row = expert * stack.outputs;
  const long begin = stack.rowBegin(row);
  const long count = stack.rowEnd(row + stack.outputs - 1) - begin;
  const bool isHalf = stack.type == ValueType::f16 || stack.type == ValueType::bf16;
  const uint16_t exponent = stack.type == ValueType::bf16 ? 0x7f80 : 0x7c00;
  if (isHalf && !allFinite(static_cast<const uint16_t*>(stack.values) + begin, count, exponent))
    return fail(error, "values of expert %ld hold an infinity or a NaN, expected finite numbers", expert);
  if (!isHalf && !allFinite(stack.scales + row * stack.groups, stack.outputs * stack.groups, 0x7c00))
    return fail(error, "scales of expert %ld hold an infinity or a NaN, expected finite numbers", expert);
  return true;
}

}  // namespace spexpand
