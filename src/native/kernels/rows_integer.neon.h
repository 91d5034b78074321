// int8 and int4 values times rounded inputs on NEON, over the way that 16 products are added: Products::add. In an
// unnamed namespace: what one of the including files makes of it must not be linked into the other.
#pragma once

#include <cstring>

#include "kernels/rows.neon.h"

namespace spexpand::neon {

namespace {

inline float toFloat(uint16_t half) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

struct Columns {
  const int8_t* rounded;
  const float* blockScales;
};

/** One row for all tokens; `scales` (blocks) of the weights, or null where one scale serves the row. */
template <class Products, long blockInputs, int tokens>
inline void row(const uint8_t* mask, long maskBytes, const int8_t* values, const float* scales, const Columns* columns,
                float* y) {
  constexpr long words = blockInputs == 128 ? 2 : 1;
  float32x4_t sums[tokens];
  for (int t = 0; t < tokens; t++) sums[t] = vdupq_n_f32(0);
  for (long b = 0; b < maskBytes; b += 8 * words) {
    int32x4_t products[tokens];
    for (int t = 0; t < tokens; t++) products[t] = vdupq_n_s32(0);
    const auto endBlock = [&](long block) {
      for (int t = 0; t < tokens; t++) {
        const float factor = columns[t].blockScales[block] * (scales ? scales[block] : 1.0f);
        sums[t] = vfmaq_n_f32(sums[t], vcvtq_f32_s32(products[t]), factor);
        products[t] = vdupq_n_s32(0);
      }
    };
    for (long word = 0; word < words; word++) {
      const uint64_t kept = maskWord(mask, maskBytes, b + word * 8);
      const uint64_t counts = countsOf(kept);
      for (int i = 0; i < 8; i += 2) {
        const int8x16_t weights = vcombine_s8(expandBytes(values + before(counts, i), eightAt(kept, i)),
                                              expandBytes(values + before(counts, i + 1), eightAt(kept, i + 1)));
        for (int t = 0; t < tokens; t++)
          products[t] = Products::add(products[t], weights, vld1q_s8(columns[t].rounded + (b + word * 8 + i) * 8));
        if (blockInputs == 32 && i % 4 == 2) endBlock((b + i) / 4);
      }
      values += counts >> 56;
      prefetchAhead(values);
    }
    prefetchAhead(mask + b);
    if (blockInputs > 32) endBlock(b * 8 / blockInputs);
  }
  for (int t = 0; t < tokens; t++) y[t] = vaddvq_f32(sums[t]);
}

/** Values of rows as bytes where 8 can be read wherever a row ends; nibbles of several rows are unpacked at once. */
struct Bytes {
  int8_t* scratch;
  long begin;  // element that the scratch begins with
  long end;    // row behind its last

  const int8_t* of(const Stack& stack, long row, long endRow) {
    const long first = stack.rowBegin(row);
    if (stack.type == ValueType::int4) {
      if (row == end) fill(stack, row, endRow);
      return scratch + (begin & 1) + (first - begin);
    }
    const int8_t* values = static_cast<const int8_t*>(stack.values) + first;
    if (stack.rowEnd(row) + 8 <= stack.valueCount) return values;
    std::memcpy(scratch, values, static_cast<size_t>(stack.rowEnd(row) - first));
    return scratch;
  }

 private:
  void fill(const Stack& stack, long row, long endRow) {
    begin = stack.rowBegin(row);
    end = row + 1;
    while (end < endRow && stack.rowEnd(end) - begin <= kUnpackedBytes) end++;
    unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin,
                  stack.rowEnd(end - 1) - begin, scratch);
  }
};

/** `blocks` scales of a row, those of blocks beyond the last group 0: their inputs are padding. */
inline void widenScales(const Stack& stack, long at, long blockInputs, long blocks, float* out) {
  const uint16_t* scales = stack.scales + at * stack.groups;
  const long perGroup = stack.groupSize / blockInputs;
  long block = 0;
  for (long group = 0; group < stack.groups; group++) {
    const float scale = toFloat(scales[group]);
    for (long b = 0; b < perGroup && block < blocks; b++) out[block++] = scale;
  }
  for (; block < blocks; block++) out[block] = 0;
}

template <class Products, long blockInputs, int tokens>
void rowsFor(const RowsTask& task) {
  const Stack& stack = *task.stack;
  const Inputs& inputs = *task.inputs;
  Bytes bytes{static_cast<int8_t*>(task.scratch), 0, task.row};
  auto* scales = reinterpret_cast<float*>(bytes.scratch + unpackedBytes(inputs.padded));
  Columns columns[tokens];
  for (int t = 0; t < tokens; t++)
    columns[t] = {inputs.rounded + tokenAt(task, t) * inputs.padded,
                  inputs.blockScales + tokenAt(task, t) * (inputs.padded / blockInputs)};
  for (long r = 0; r < task.rows; r++) {
    const long at = task.row + r;
    const int8_t* values = bytes.of(stack, at, task.row + task.rows);
    const bool hasGroups = stack.groupSize > 0;
    if (hasGroups) widenScales(stack, at, blockInputs, inputs.padded / blockInputs, scales);
    float y[tokens];
    row<Products, blockInputs, tokens>(stack.mask + at * stack.maskBytes, stack.maskBytes, values,
                                       hasGroups ? scales : nullptr, columns, y);
    const float rowScale = hasGroups ? 1.0f : toFloat(stack.scales[at]);
    for (int t = 0; t < tokens; t++) task.y[tokenAt(task, t) * task.yStride + task.column + r] = y[t] * rowScale;
  }
}

using Rows = void (*)(const RowsTask&);
template <class Products, long block>
constexpr Rows kRows[] = {rowsFor<Products, block, 1>, rowsFor<Products, block, 2>, rowsFor<Products, block, 3>,
                          rowsFor<Products, block, 4>, rowsFor<Products, block, 8>};

template <class Products>
void integerRowsBy(const RowsTask& task) {
  const long block = task.inputs->blockInputs;
  const Rows* kernels = block == 128 ? kRows<Products, 128> : block == 64 ? kRows<Products, 64> : kRows<Products, 32>;
  kernels[kernelFor(task.tokenCount)](task);
}

}  // namespace

}  // namespace spexpand::neon
