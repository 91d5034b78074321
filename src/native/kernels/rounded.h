// Inputs rounded to int8, symmetric, one scale per block: what accuracy level 4 multiplies by.
#pragma once

#include <cstdint>

#include "kernels/stack.h"

namespace spexpand {

/** Inputs per scale: as long as the groups of the weights allow, 128 at most; 64 where a row has one scale. */
static inline long blockInputsOf(long groupSize) {
  if (groupSize == 0) return 64;
  return groupSize % 128 == 0 ? 128 : groupSize % 64 == 0 ? 64 : 32;
}

/** Inputs that share 16 corrections: a block, at least the 64 inputs of one vector. */
static inline long stepInputsOf(long blockInputs) { return blockInputs < 64 ? 64 : blockInputs; }

/** What makes the smallest weight 0. */
static inline int offsetOf(ValueType type) { return type == ValueType::int4 ? 8 : 128; }

/**
 * One token: x (padded) → rounded (padded), scales (padded / blockInputs), corrections (padded / stepInputs, 16).
 * scale = max |x| / 127 of the block; a block of zeros has scale 0, one with an infinity or a NaN has scale NaN.
 * Kernels whose products take unsigned weights add `offset` to each weight: correction l of a step is −offset times the
 * sum of the rounded inputs 4l … 4l+3 of its vectors.
 */
struct Rounding {
  long padded;
  long blockInputs;
  int offset;
};
using RoundInputs = void (*)(const Rounding&, const float* x, int8_t* rounded, float* scales, int32_t* corrections);

// 127 / most overflows for tiny blocks; they count as zeros.
constexpr float kLeastBlock = 1e-36f;

}  // namespace spexpand
