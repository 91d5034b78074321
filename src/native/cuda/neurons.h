// NeuronSubsetFFN on the device: check of the index, hidden values of the chosen neurons, outputs.
#pragma once

#include "cuda/device.h"
#include "cuda/product.h"

namespace spexpand {
namespace cuda {

constexpr int kNeuronWarps = 8;
/** Tokens that a row of weights is read for at once. */
constexpr int kNeuronTokens = 8;

template <DenseType kType>
SPEXPAND_DEVICE float denseAt(const void* weights, long at) {
  if constexpr (kType == DenseType::f32) return static_cast<const float*>(weights)[at];
  else if constexpr (kType == DenseType::f16) return f16At(weights, at);
  else return bf16At(weights, at);
}

/** Every index in [0, F), none twice. Any grid. */
SPEXPAND_KERNEL checkNeurons(const Neurons ffn) {
  const long threads = static_cast<long>(gridDim.x) * blockDim.x;
  for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < ffn.count; i += threads) {
    const int64_t j = ffn.index[i];
    if (j >= 0 && j < ffn.neurons && atomicExch(ffn.seen + j, 1u) == 0) continue;
    ffn.seen[ffn.neurons] = 1;
    complain(ffn.notice, i, j);
  }
}

/** h = silu(gate_j · x) (up_j · x). Grid (⌈count / kNeuronWarps⌉, ⌈tokens / kNeuronTokens⌉), a warp per neuron. */
template <DenseType kType, bool kHalf>
SPEXPAND_KERNEL neuronHidden(const Neurons ffn) {
  const long i = static_cast<long>(blockIdx.x) * kNeuronWarps + warpOf();
  if (i >= ffn.count || ffn.seen[ffn.neurons]) return;
  const long first = static_cast<long>(blockIdx.y) * kNeuronTokens;
  const long row = ffn.index[i] * ffn.inputs;
  float gate[kNeuronTokens] = {};
  float up[kNeuronTokens] = {};
  for (long k = laneOf(); k < ffn.inputs; k += kWarp) {
    const float g = denseAt<kType>(ffn.gate, row + k);
    const float u = denseAt<kType>(ffn.up, row + k);
    SPEXPAND_UNROLL
    for (int t = 0; t < kNeuronTokens; t++) {
      if (first + t >= ffn.tokens) continue;
      const float x = inputAt<kHalf>(ffn.x, (first + t) * ffn.inputs + k);
      gate[t] += g * x;
      up[t] += u * x;
    }
  }
  SPEXPAND_UNROLL
  for (int t = 0; t < kNeuronTokens; t++) {
    const float g = warpSum(gate[t]);
    const float u = warpSum(up[t]);
    if (laneOf() == 0 && first + t < ffn.tokens) ffn.h[(first + t) * ffn.count + i] = g / (1 + expf(-g)) * u;
  }
}

/**
 * y = Σ h_j down_j. Grid (⌈N / 32⌉, ⌈tokens / kNeuronTokens⌉): a lane per output, the neurons dealt out to the warps,
 * whose sums are added in order.
 */
template <DenseType kType, bool kHalf>
SPEXPAND_KERNEL neuronOutputs(const Neurons ffn) {
  __shared__ float partial[kNeuronWarps][kNeuronTokens][kWarp];
  const int lane = laneOf();
  const int warp = warpOf();
  const long n = static_cast<long>(blockIdx.x) * kWarp + lane;
  const long first = static_cast<long>(blockIdx.y) * kNeuronTokens;
  const bool isBad = ffn.seen[ffn.neurons] != 0;
  float sums[kNeuronTokens] = {};
  for (long i = warp; i < ffn.count && n < ffn.outputs && !isBad; i += kNeuronWarps) {
    const float w = denseAt<kType>(ffn.down, ffn.index[i] * ffn.outputs + n);
    SPEXPAND_UNROLL
    for (int t = 0; t < kNeuronTokens; t++)
      if (first + t < ffn.tokens) sums[t] += ffn.h[(first + t) * ffn.count + i] * w;
  }
  SPEXPAND_UNROLL
  for (int t = 0; t < kNeuronTokens; t++) partial[warp][t][lane] = sums[t];
  __syncthreads();
  // From here on a warp per token.
  static_assert(kNeuronWarps == kNeuronTokens, "a warp per token");
  if (first + warp >= ffn.tokens || n >= ffn.outputs) return;
  float sum = 0;
  for (int w = 0; w < kNeuronWarps; w++) sum += partial[w][warp][lane];
  storeOutput<kHalf>(ffn.y, (first + warp) * ffn.outputs + n, isBad ? notANumber() : sum);
}

}  // namespace cuda
}  // namespace spexpand
