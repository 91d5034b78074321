// One token, and few tokens: a warp per output row. Lane l takes inputs l, l + 32, …: inputs and kept values are read
// by neighbouring lanes from neighbouring addresses.
#pragma once

#include "cuda/product.h"
#include "cuda/weights.h"

namespace spexpand {
namespace cuda {

constexpr int kRowWarps = 4;
/** More tokens go to the tiles (tiles.h). */
constexpr long kMostRowTokens = 8;

/**
 * Grid (⌈N / kRowWarps⌉, tokens). The first token of an expert computes for all tokens of that expert, so that a row is
 * read once; the warps of the others end at once. kTokens: 1, or kMostRowTokens for up to as many.
 */
template <ValueType kType, bool kHalf, int kTokens>
SPEXPAND_KERNEL sparseRows(const Stack stack, const Product product) {
  const long n = static_cast<long>(blockIdx.x) * kRowWarps + warpOf();
  const int lane = laneOf();
  const int first = static_cast<int>(blockIdx.y);
  if (n >= stack.outputs) return;
  const int64_t e = product.expert[first];
  if (e < 0 || e >= stack.experts) {
    if (lane == 0) storeOutput<kHalf>(product.y, first * stack.outputs + n, notANumber());
    if (lane == 0 && n == 0) complain(product.notice, first, e);
    return;
  }
  unsigned mine = 0;
  SPEXPAND_UNROLL
  for (int t = 0; t < kTokens; t++)
    if (t < product.tokens && product.expert[t] == e) mine |= 1u << t;
  if (mine & ((1u << first) - 1)) return;

  const long row = e * stack.outputs + n;
  long at = 1 + static_cast<long>(stack.rowOffsets[row]);
  float sums[kTokens] = {};
  const long words = wordsPerRow(stack);
  for (long word = 0; word < words; word++) {
    const uint32_t bits = maskWord(stack, row, word);
    if (bits >> lane & 1) {
      const float w = weightAt<kType>(stack, row, word, bits, at, lane);
      SPEXPAND_UNROLL
      for (int t = 0; t < kTokens; t++)
        if (mine >> t & 1) sums[t] += w * inputAt<kHalf>(product.x, t * stack.inputs + word * kWarp + lane);
    }
    at += __popc(bits);
  }
  SPEXPAND_UNROLL
  for (int t = 0; t < kTokens; t++) {
    if (!(mine >> t & 1)) continue;
    const float sum = warpSum(sums[t]);
    if (lane == 0) storeOutput<kHalf>(product.y, t * stack.outputs + n, sum);
  }
}

}  // namespace cuda
}  // namespace spexpand
