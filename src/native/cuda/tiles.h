// Many tokens: tiles of one expert's tokens times its rows. Weights are decoded into shared memory, once per tile.
#pragma once

#include "cuda/groups.h"
#include "cuda/weights.h"

namespace spexpand {
namespace cuda {

constexpr int kTileOutputs = 64;
constexpr int kTileThreads = 256;

/**
 * Grid (mostTiles, ⌈N / kTileOutputs⌉), kTileThreads threads as 16 x 16 with 4 x 4 outputs each. A step is one word of
 * the mask: 32 inputs. Every warp decodes 8 rows of weights and fetches 8 tokens. Sums run along the inputs in order:
 * a token's bytes do not depend on the tokens beside it.
 */
template <ValueType kType, bool kHalf>
SPEXPAND_KERNEL sparseTiles(const Stack stack, const Product product, const Tiles tiles) {
  constexpr int kEach = 8;
  // One column more than used: lanes write along a column without meeting in a bank.
  __shared__ float W[kWarp][kTileOutputs + 1];
  __shared__ float X[kWarp][kTileTokens + 1];
  if (static_cast<int>(blockIdx.x) >= *tiles.count) return;
  const long e = tiles.expert[blockIdx.x];
  const int* order = tiles.order + tiles.first[blockIdx.x];
  const int tokens = tiles.end[blockIdx.x] - tiles.first[blockIdx.x];
  const long n0 = static_cast<long>(blockIdx.y) * kTileOutputs;
  const long outputs = stack.outputs - n0 < kTileOutputs ? stack.outputs - n0 : kTileOutputs;
  const int lane = laneOf();
  const int mine = warpOf() * kEach;
  const int column = static_cast<int>(threadIdx.x) % 16;
  const int line = static_cast<int>(threadIdx.x) / 16;

  long at[kEach];
  SPEXPAND_UNROLL
  for (int r = 0; r < kEach; r++)
    at[r] = mine + r < outputs ? 1 + static_cast<long>(stack.rowOffsets[e * stack.outputs + n0 + mine + r]) : 0;
  float sums[4][4] = {};
  const long words = wordsPerRow(stack);
  for (long word = 0; word < words; word++) {
    const long k = word * kWarp + lane;
    SPEXPAND_UNROLL
    for (int r = 0; r < kEach; r++) {
      const long row = e * stack.outputs + n0 + mine + r;
      const uint32_t bits = mine + r < outputs ? maskWord(stack, row, word) : 0;
      W[lane][mine + r] = weightAt<kType>(stack, row, word, bits, at[r], lane);
      at[r] += __popc(bits);
      const bool isThere = mine + r < tokens && k < stack.inputs;
      X[lane][mine + r] = isThere ? inputAt<kHalf>(product.x, order[mine + r] * stack.inputs + k) : 0;
    }
    __syncthreads();
    for (int i = 0; i < kWarp; i++) {
      SPEXPAND_UNROLL
      for (int a = 0; a < 4; a++) {
        SPEXPAND_UNROLL
        for (int b = 0; b < 4; b++) sums[a][b] += X[i][line + 16 * a] * W[i][column + 16 * b];
      }
    }
    __syncthreads();
  }
  SPEXPAND_UNROLL
  for (int a = 0; a < 4; a++) {
    SPEXPAND_UNROLL
    for (int b = 0; b < 4; b++)
      if (line + 16 * a < tokens && column + 16 * b < outputs)
        storeOutput<kHalf>(product.y, order[line + 16 * a] * stack.outputs + n0 + column + 16 * b, sums[a][b]);
  }
}

}  // namespace cuda
}  // namespace spexpand
