// f16 and bf16 values on NEON: a shuffle from a table lays the kept values of 8 inputs in their places.
#include "kernels/rows.neon.h"

namespace spexpand::neon {

namespace {

/** Sums of a token that do not wait for each other: with 1 or 2 tokens, enough for the latency of an addition. */
constexpr int sumsFor(int tokens) { return tokens == 1 ? 8 : tokens == 2 ? 4 : 2; }

template <int count>
inline float sumOf(const float32x4_t* sums) {
  float32x4_t all[count];
  for (int i = 0; i < count; i++) all[i] = sums[i];
  for (int width = count / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) all[i] = vaddq_f32(all[i], all[i + width]);
  return vaddvq_f32(all[0]);
}

template <bool isBf16, int tokens>
inline void row(const Stack& stack, const uint8_t* mask, const uint16_t* values, const float* const* x, float* y) {
  constexpr int kSums = sumsFor(tokens);
  float32x4_t sums[tokens][kSums];
  for (int t = 0; t < tokens; t++)
    for (int i = 0; i < kSums; i++) sums[t][i] = vdupq_n_f32(0);
  for (long b = 0; b < stack.maskBytes; b += 8) {
    const uint64_t kept = maskWord(mask, stack.maskBytes, b);
    const uint64_t counts = countsOf(kept);
    // 32 inputs at a time: their weights and the sums of 8 tokens fit the 32 registers.
    for (int half = 0; half < 2; half++) {
      float32x4_t weights[8];
      for (int i = 0; i < 4; i++) {
        const int byte = half * 4 + i;
        const uint16x8_t halves = expandHalves(values + before(counts, byte), eightAt(kept, byte));
        const Eight eight = isBf16 ? widenBf16(halves) : widenF16(halves);
        weights[2 * i] = eight.low;
        weights[2 * i + 1] = eight.high;
      }
      for (int t = 0; t < tokens; t++)
        for (int i = 0; i < 8; i++)
          sums[t][i % kSums] = vfmaq_f32(sums[t][i % kSums], weights[i], vld1q_f32(x[t] + b * 8 + half * 32 + i * 4));
    }
    values += counts >> 56;
    prefetchAhead(values);
    if ((b & 63) == 0) prefetchAhead(mask + b);
  }
  for (int t = 0; t < tokens; t++) y[t] = sumOf<kSums>(sums[t]);
}

template <bool isBf16, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const float* x[tokens];
  for (int t = 0; t < tokens; t++) x[t] = task.inputs->f32 + tokenAt(task, t) * task.inputs->padded;
  for (long r = 0; r < task.rows; r++) {
    const long begin = stack.rowBegin(task.row + r);
    const long end = stack.rowEnd(task.row + r);
    const uint16_t* values = static_cast<const uint16_t*>(stack.values) + begin;
    // 8 values are read wherever the row ends: the last rows of the tensor are copied to where that is allowed.
    if (end + 8 > stack.valueCount) {
      auto* copy = static_cast<uint16_t*>(task.scratch);
      for (long i = begin; i < end; i++) copy[i - begin] = values[i - begin];
      values = copy;
    }
    float y[tokens];
    row<isBf16, tokens>(stack, stack.mask + (task.row + r) * stack.maskBytes, values, x, y);
    for (int t = 0; t < tokens; t++) task.y[tokenAt(task, t) * task.yStride + task.column + r] = y[t];
  }
}

using Rows = void (*)(const RowsTask&);
template <bool isBf16>
constexpr Rows kRows[] = {rowsFor<isBf16, 1>, rowsFor<isBf16, 2>, rowsFor<isBf16, 3>, rowsFor<isBf16, 4>,
                          rowsFor<isBf16, 8>};

}  // namespace

void halfRows(const RowsTask& task) {
  (task.stack->type == ValueType::bf16 ? kRows<true> : kRows<false>)[kernelFor(task.tokenCount)](task);
}

}  // namespace spexpand::neon
