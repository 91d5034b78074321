// One token, and few tokens: a warp for two output rows. Kept values are brought to shared memory 1024 inputs ahead;
// a lane takes 4 neighbouring inputs of each 128 and finds their values by the number of mask bits before them.
#pragma once

#include "cuda/product.h"
#include "cuda/reader.h"

namespace spexpand {
namespace cuda {

constexpr int kRowWarps = 4;
/** Tokens of one expert for which its rows are read once here; more go to the tiles (tiles.h). */
constexpr int kMostRowTokens = 8;

/** Four neighbouring inputs of a token, 0 behind the last. kWide: K is a multiple of 4, and x aligned to 16. */
template <bool kHalf, bool kWide>
SPEXPAND_DEVICE void loadInputs(float (&x)[kLaneInputs], const uint8_t* token, unsigned k, unsigned inputs) {
  if constexpr (kWide && kHalf) {
    Pair<uint32_t> two = {0, 0};
    if (k < inputs) two = *reinterpret_cast<const Pair<uint32_t>*>(token + k * 2);
    x[0] = lowHalf(two.a), x[1] = lowHalf(two.a >> 16), x[2] = lowHalf(two.b), x[3] = lowHalf(two.b >> 16);
  } else if constexpr (kWide) {
    Quad<float> four = {0, 0, 0, 0};
    if (k < inputs) four = *reinterpret_cast<const Quad<float>*>(token + k * 4);
    x[0] = four.a, x[1] = four.b, x[2] = four.c, x[3] = four.d;
  } else {
    SPEXPAND_UNROLL
    for (unsigned j = 0; j < kLaneInputs; j++) x[j] = k + j < inputs ? inputAt<kHalf>(token, k + j) : 0;
  }
}

/** Steps whose inputs are loaded together. */
constexpr int kSteps = 4;
constexpr int kStepInputs = kWarp * kLaneInputs;

/** sums[r] += weights · inputs of kSteps steps of one token. */
template <ValueType kType, bool kHalf, bool kWide>
SPEXPAND_DEVICE void addToken(RowReader<kType, kWide>& reader, const uint8_t* token, int segment, int step, unsigned k,
                              float (&sums)[kWarpRows][1]) {
  float x[kSteps][kLaneInputs];
  const auto inputs = static_cast<unsigned>(reader.stack.inputs);
  SPEXPAND_UNROLL
  for (int s = 0; s < kSteps; s++) loadInputs<kHalf, kWide>(x[s], token, k + s * kStepInputs, inputs);
  // One step ahead of the sums: loads of shared memory take long.
  Decoded decoded[2];
  reader.decode(decoded[0], segment, step);
  SPEXPAND_UNROLL
  for (int s = 0; s < kSteps; s++) {
    if (s + 1 < kSteps) reader.decode(decoded[(s + 1) & 1], segment, step + s + 1);
    const Decoded& now = decoded[s & 1];
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      float part = kIsInteger<kType> ? 0 : sums[r][0];
      SPEXPAND_UNROLL
      for (int j = 0; j < kLaneInputs; j++)
        if (now.bits[r] >> j & 1) part += now.weights[r][j] * x[s][j];
      if constexpr (kIsInteger<kType>) sums[r][0] += reader.scaleOf(r, step + s) * part;
      else sums[r][0] = part;
    }
  }
}

/** The same of a few tokens, those whose bit is set in `mine`. */
template <ValueType kType, bool kHalf, bool kWide, int kTokens>
SPEXPAND_DEVICE void addTokens(RowReader<kType, kWide>& reader, const uint8_t* tokens, int segment, int step,
                               unsigned k, unsigned mine, float (&sums)[kWarpRows][kTokens]) {
  const auto inputs = static_cast<unsigned>(reader.stack.inputs);
  SPEXPAND_UNROLL
  for (int s = 0; s < kSteps; s++) {
    Decoded now;
    reader.decode(now, segment, step + s);
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      SPEXPAND_UNROLL
      for (int j = 0; j < kLaneInputs; j++) {
        if constexpr (kIsInteger<kType>) now.weights[r][j] *= reader.scaleOf(r, step + s);
        now.weights[r][j] = now.bits[r] >> j & 1 ? now.weights[r][j] : 0;
      }
    }
    SPEXPAND_UNROLL
    for (int t = 0; t < kTokens; t++) {
      if (!(mine >> t & 1)) continue;
      float x[kLaneInputs];
      loadInputs<kHalf, kWide>(x, tokens + t * reader.stack.inputs * (kHalf ? 2 : 4), k + s * kStepInputs, inputs);
      SPEXPAND_UNROLL
      for (int r = 0; r < kWarpRows; r++) {
        SPEXPAND_UNROLL
        for (int j = 0; j < kLaneInputs; j++) sums[r][t] += now.weights[r][j] * x[j];
      }
    }
  }
}

/**
 * Grid (⌈N / (kRowWarps · kWarpRows)⌉, tokens). The first token of an expert computes for all tokens of that expert, so
 * that a row is read once; the warps of the others end at once. kTokens: 1, or kMostRowTokens for up to as many.
 */
template <ValueType kType, bool kHalf, int kTokens, bool kWide>
SPEXPAND_KERNEL_FOR(kRowWarps * kWarp, 6) sparseRows(const Stack stack, const Product product) {
  __shared__ RowStage<kType> stages[kRowWarps];
  const long n = (static_cast<long>(blockIdx.x) * kRowWarps + warpOf()) * kWarpRows;
  const int lane = laneOf();
  const int first = static_cast<int>(blockIdx.y);
  if (n >= stack.outputs) return;
  const int64_t e = product.expert[first];
  if (e < 0 || e >= stack.experts) {
    if (lane < kWarpRows && n + lane < stack.outputs)
      storeOutput<kHalf>(product.y, first * stack.outputs + n + lane, notANumber());
    if (lane == 0 && n == 0) complain(product.notice, first, e);
    return;
  }
  unsigned mine = 0;
  SPEXPAND_UNROLL
  for (int t = 0; t < kTokens; t++)
    if (t < product.tokens && product.expert[t] == e) mine |= 1u << t;
  if (mine & ((1u << first) - 1)) return;

  const long last = (e + 1) * stack.outputs - 1;
  RowReader<kType, kWide> reader(stack, stages[warpOf()], e * stack.outputs + n, last);
  const auto* x = static_cast<const uint8_t*>(product.x);
  const int inputs = static_cast<int>(stack.inputs);
  const int segments = (inputs + kSegment - 1) / kSegment;
  float sums[kWarpRows][kTokens] = {};
  reader.fetch(0);
  commitCopies();
  SPEXPAND_UNROLL_BY(1)
  for (int segment = 0; segment < segments; segment++) {
    reader.publish();
    if (segment + 1 < segments) reader.fetch(segment + 1);
    commitCopies();
    waitCopies<1>();
    __syncwarp();
    SPEXPAND_UNROLL_BY(1)
    for (int step = 0; step < kSegment / (kWarp * kLaneInputs); step += kSteps) {
      const unsigned k = static_cast<unsigned>(segment * kSegment + step * kStepInputs);
      if (k >= static_cast<unsigned>(inputs)) break;
      const unsigned mineFrom = k + static_cast<unsigned>(lane * kLaneInputs);
      if constexpr (kTokens == 1) addToken<kType, kHalf, kWide>(reader, x, segment, step, mineFrom, sums);
      else addTokens<kType, kHalf, kWide, kTokens>(reader, x, segment, step, mineFrom, mine, sums);
    }
    __syncwarp();
  }
  SPEXPAND_UNROLL
  for (int r = 0; r < kWarpRows; r++) {
    SPEXPAND_UNROLL
    for (int t = 0; t < kTokens; t++) {
      if (kTokens > 1 && !(mine >> t & 1)) continue;
      const float sum = warpSum(sums[r][t]);
      const long token = kTokens > 1 ? t : first;
      if (lane == 0 && n + r < stack.outputs) storeOutput<kHalf>(product.y, token * stack.outputs + n + r, sum);
    }
  }
}

}  // namespace cuda
}  // namespace spexpand
