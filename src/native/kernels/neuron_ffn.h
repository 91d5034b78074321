// A gated feed-forward layer over a subset of its neurons.
#pragma once

#include "kernels/isa.h"
#include "kernels/parallel.h"

namespace spexpand {

struct NeuronFfn {
  long tokens;
  long inputs;           // K
  long outputs;          // N
  long neurons;          // F
  const void* x;         // (tokens, K), f32 or f16
  const int64_t* index;  // (count) distinct, in [0, F) (checkNeurons)
  long count;
  const void* gate;      // (F, K)
  const void* up;        // (F, K)
  const void* down;      // (F, N)
  DenseType type;        // of the three
  void* y;               // (tokens, N), as x
  bool isHalf;           // x and y are f16
};

/** Every index in [0, neurons), none twice. */
bool checkNeurons(const int64_t* index, long count, long neurons, Error& error);

/**
 * y = Σ over the indices j of silu(gate_j · x) (up_j · x) down_j. Every selected row is read once for all tokens.
 * The bytes of y do not depend on the threads. False: out of memory.
 */
bool neuronFfn(const Isa& isa, const Parallel& parallel, const NeuronFfn& ffn, Error& error);

}  // namespace spexpand
