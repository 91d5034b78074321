// A stack of sparse experts as docs/formats.md stores it, and what the kernels say when it is wrong.
#pragma once

#include <cstdint>

namespace spexpand {

enum class ValueType { f16, bf16, int8, int4 };

/**
 * E experts of one matrix (N outputs, K inputs): a bit per weight, the kept weights row after row over the whole stack,
 * inputs ascending, behind one leading 0, and how many kept weights come before each row. Integer values have f16
 * scales: weight = scales[e, n, k / groupSize] · value; groupSize 0 is one scale for the whole row.
 */
struct Stack {
  long experts;
  long outputs;
  long inputs;
  const uint8_t* mask;        // (E, N, maskBytes), bit 0 first
  long maskBytes;             // ⌈K/8⌉
  ValueType type;
  const void* values;         // (valueCount) elements; int4: two in a byte, low nibble first
  long valueCount;            // 1 + kept weights of the stack
  const uint16_t* scales;     // (E, N, groups) f16; null for f16 and bf16 values
  long groups;
  long groupSize;
  const int64_t* rowOffsets;  // (E, N)

  /** First element of row e · N + n. */
  long rowBegin(long row) const { return 1 + static_cast<long>(rowOffsets[row]); }
  /** One past its last element. */
  long rowEnd(long row) const {
    return row + 1 < experts * outputs ? 1 + static_cast<long>(rowOffsets[row + 1]) : valueCount;
  }
};

/** One line, or nothing went wrong. No exceptions: callers are C. */
struct Error {
  char text[256] = "";
  explicit operator bool() const { return text[0] != 0; }
};

/** Formats like printf; the first error stays. Returns false, so that checks can `return fail(…)`. */
bool fail(Error& error, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace spexpand
