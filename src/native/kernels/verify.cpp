#include "kernels/verify.h"

#include <cstring>

namespace spexpand {

namespace {

constexpr long kRowsPerTask = 256;

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

bool startsWithZero(const Stack& stack) {
  const auto* bytes = static_cast<const uint8_t*>(stack.values);
  if (stack.type == ValueType::int4) return (bytes[0] & 15) == 0;
  return stack.type == ValueType::int8 ? bytes[0] == 0 : bytes[0] == 0 && bytes[1] == 0;
}

/** Offsets of a row before its values; they may be any numbers. */
struct Range {
  int64_t begin;
  int64_t end;
  int64_t most;
  bool isSound;
};

Range rangeOf(const Stack& stack, long row) {
  // Compared as int64 before anything is added.
  const int64_t kept = stack.valueCount - 1;
  const int64_t begin = stack.rowOffsets[row];
  const int64_t end = row + 1 < stack.experts * stack.outputs ? stack.rowOffsets[row + 1] : kept;
  return {begin, end, kept, begin >= 0 && end >= begin && end <= kept && (row != 0 || begin == 0)};
}

/** Values of f16 and bf16, scales of the others, of the rows [from, to). */
bool numbersAreFinite(const Isa& isa, const Stack& stack, long from, long to) {
  if (stack.scales) return isa.allFinite(stack.scales + from * stack.groups, (to - from) * stack.groups, 0x7c00);
  const uint16_t exponent = stack.type == ValueType::bf16 ? 0x7f80 : 0x7c00;
  const long begin = stack.rowBegin(from);
  return isa.allFinite(static_cast<const uint16_t*>(stack.values) + begin, stack.rowEnd(to - 1) - begin, exponent);
}

/** Everything that verifyExpert() wants of the rows [from, to) of the stack, without saying what is wrong. */
bool rowsAreSound(const Isa& isa, const Stack& stack, long from, long to) {
  for (long row = from; row < to; row++) {
    const Range range = rangeOf(stack, row);
    const uint8_t* mask = stack.mask + row * stack.maskBytes;
    if (!range.isSound || !paddingIsClear(stack, mask)) return false;
    if (isa.countBits(mask, stack.maskBytes) != range.end - range.begin) return false;
  }
  return numbersAreFinite(isa, stack, from, to);
}

bool explainRow(const Stack& stack, long expert, long n, Error& error) {
  const long row = expert * stack.outputs + n;
  const Range range = rangeOf(stack, row);
  if (!range.isSound)
    return fail(error, "row_offsets of expert %ld row %ld are %lld to %lld, expected ascending from 0 to at most %lld",
                expert, n, static_cast<long long>(range.begin), static_cast<long long>(range.end),
                static_cast<long long>(range.most));
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  if (!paddingIsClear(stack, mask))
    return fail(error, "mask of expert %ld row %ld has bits from input %ld on, expected 0", expert, n, stack.inputs);
  const long bits = countBits(mask, stack.maskBytes);
  if (bits != range.end - range.begin)
    return fail(error, "mask of expert %ld row %ld keeps %ld weights, row_offsets say %lld", expert, n, bits,
                static_cast<long long>(range.end - range.begin));
  return true;
}

/** What is wrong with an expert that is not sound. */
bool explain(const Stack& stack, long expert, Error& error) {
  for (long n = 0; n < stack.outputs; n++)
    if (!explainRow(stack, expert, n, error)) return false;
  return fail(error, "%s of expert %ld hold an infinity or a NaN, expected finite numbers",
              stack.scales ? "scales" : "values", expert);
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

bool verifyExpert(const Isa& isa, const Stack& stack, long expert, Error& error) {
  const long from = expert * stack.outputs;
  return rowsAreSound(isa, stack, from, from + stack.outputs) || explain(stack, expert, error);
}

bool verifyExperts(const Isa& isa, const Parallel& parallel, const Stack& stack, const long* experts, long count,
                   Error& error) {
  const long perExpert = (stack.outputs + kRowsPerTask - 1) / kRowsPerTask;
  bool isSound = true;
  parallelFor(parallel, static_cast<size_t>(count * perExpert), [&](size_t task) {
    const long i = static_cast<long>(task) / perExpert;
    const long first = static_cast<long>(task) % perExpert * kRowsPerTask;
    const long rows = first + kRowsPerTask < stack.outputs ? kRowsPerTask : stack.outputs - first;
    const long from = experts[i] * stack.outputs + first;
    if (!rowsAreSound(isa, stack, from, from + rows)) __atomic_store_n(&isSound, false, __ATOMIC_RELAXED);
  });
  if (isSound) return true;
  for (long i = 0; i < count; i++)
    if (!verifyExpert(isa, stack, experts[i], error)) return false;
  return true;
}

}  // namespace spexpand
