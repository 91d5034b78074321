// y[t] = W[expert[t]] · x[t] over a stack of sparse experts.
#pragma once

#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "kernels/stack.h"

namespace spexpand {

struct SparseMatMul {
  const Stack* stack;      // verified for the experts that occur (verify.h)
  long tokens;
  const void* x;           // (tokens, K), f32 or f16
  const int64_t* expert;   // (tokens), each in [0, E) (checkExperts)
  void* y;                 // (tokens, N), as x
  bool isHalf;             // x and y are f16
  /** Integer values: inputs may be rounded to int8 for a few tokens at a time (onnxruntime's accuracy level 4). */
  bool roundsInputs;
};

/** Every index in [0, experts). */
bool checkExperts(const int64_t* expert, long tokens, long experts, Error& error);

/**
 * Three regimes by tokens per expert: one (a row times a vector), a few (a row decoded once for up to 8 of them), more
 * (panels of rows decoded once for all of them, from Isa::panelTokens on). The bytes of y depend on the shapes, the
 * inputs and the instruction set, not on the threads. False: out of memory.
 */
bool sparseMatMul(const Isa& isa, const Parallel& parallel, const SparseMatMul& product, Error& error);

}  // namespace spexpand
