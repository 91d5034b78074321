// Many tokens: tiles of one expert's tokens times its rows, on tensor cores. Weights are decoded into shared memory,
// once per tile; what a stage needs of the stack is loaded while the one before is multiplied.
#pragma once

#include "cuda/decode.h"
#include "cuda/groups.h"
#include "cuda/multiply.h"

namespace spexpand {
namespace cuda {

template <ValueType kType, bool kHalf, int kTokens>
struct TileMemory {
  /** f32 inputs take twice the room. */
  using Input = typename Multiply<kType, kHalf, kTokens>::Input;
  alignas(16) uint16_t weights[2][Shape<kTokens>::kRows][kStride];
  alignas(16) Input inputs[2][kTokens][kStride];
  const Input* sources[kTokens];  // a token's inputs; null behind the last token
  int order[kTokens];
};

/** Inputs of a stage into shared memory, zeros behind the last token and the last input. */
template <bool kWide, typename Input, int kTokens>
SPEXPAND_DEVICE void copyInputs(Input (&to)[kTokens][kStride], const Input* const (&sources)[kTokens], int stage,
                                long inputs) {
  constexpr int kEach = 16 / sizeof(Input);
  constexpr int kParts = kStage / kEach;
  SPEXPAND_UNROLL
  for (int i = 0; i < kTokens * kParts / kTileThreads; i++) {
    const int t = (i * kTileThreads + static_cast<int>(threadIdx.x)) / kParts;
    const int part = static_cast<int>(threadIdx.x) % kParts * kEach;
    const long k = static_cast<long>(stage) * kStage + part;
    if constexpr (kWide) {
      // Were the first token's inputs read for those that are missing, all blocks would wait for the same few lines.
      const Input* from = sources[t];
      copy16(&to[t][part], from ? from + k : sources[0], from ? 16 : 0);
    } else {
      SPEXPAND_UNROLL
      for (int j = 0; j < kEach; j++) to[t][part + j] = sources[t] && k + j < inputs ? sources[t][k + j] : Input{};
    }
  }
}

/**
 * Grid (mostTiles, ⌈N / rows⌉), kTileThreads threads. Sums run along the inputs in steps that are the same for every
 * kTokens: a token's bytes do not depend on the tokens beside it. kWide: K is a multiple of 64, the mask aligned to 8
 * and x to 16.
 */
template <ValueType kType, bool kHalf, int kTokens, bool kWide>
SPEXPAND_KERNEL_FOR(kTileThreads, 2) sparseTiles(const Stack stack, const Product product, const Tiles tiles) {
  constexpr int kRows = Shape<kTokens>::kRows;
  SPEXPAND_DYNAMIC_SHARED(bytes);
  auto& memory = *reinterpret_cast<TileMemory<kType, kHalf, kTokens>*>(bytes);
  if (static_cast<int>(blockIdx.x) >= *tiles.count) return;
  const long e = tiles.expert[blockIdx.x];
  const int* order = tiles.order + tiles.first[blockIdx.x];
  const int tokens = tiles.end[blockIdx.x] - tiles.first[blockIdx.x];
  const long n = static_cast<long>(blockIdx.y) * kRows;
  const int rows = stack.outputs - n < kRows ? static_cast<int>(stack.outputs - n) : kRows;
  using Input = typename Multiply<kType, kHalf, kTokens>::Input;
  for (int t = static_cast<int>(threadIdx.x); t < kTokens; t += kTileThreads) {
    memory.order[t] = order[t < tokens ? t : 0];
    memory.sources[t] = t < tokens ? static_cast<const Input*>(product.x) + memory.order[t] * stack.inputs : nullptr;
  }

  const int stages = static_cast<int>((stack.inputs + kStage - 1) / kStage);
  Decoder<kType, kRows, kWide> decoder(stack, e * stack.outputs + n, rows);
  Multiply<kType, kHalf, kTokens> multiply(stack, e * stack.outputs + n, rows);
  decoder.fetch(0);
  __syncthreads();
  copyInputs<kWide>(memory.inputs[0], memory.sources, 0, stack.inputs);
  commitCopies();
  for (int stage = 0; stage < stages; stage++) {
    const int now = stage & 1;
    decoder.store(memory.weights[now]);
    waitCopies<0>();
    __syncthreads();
    if (stage + 1 < stages) {
      decoder.fetch(stage + 1);
      copyInputs<kWide>(memory.inputs[now ^ 1], memory.sources, stage + 1, stack.inputs);
    }
    commitCopies();
    multiply.add(memory.weights[now], memory.inputs[now], stage, stage + 1 == stages);
  }
  multiply.finish([&](int t, int r, float sum) {
    if (t < tokens && r < rows) storeOutput<kHalf>(product.y, memory.order[t] * stack.outputs + n + r, sum);
  });
}

}  // namespace cuda
}  // namespace spexpand
