// The inputs of a call in the forms that its regimes want.
#pragma once

#include "kernels/groups.h"
#include "kernels/isa.h"
#include "kernels/sparse_matmul.h"

namespace spexpand {

struct Preparation {
  const Isa* isa;
  const SparseMatMul* product;
  const Groups* groups;
  long mostByRows;  // groups of more tokens go to the dense product
};

/** Memory belongs to the thread that asked, until it asks again. */
struct Prepared {
  Inputs inputs;        // for row kernels, by token
  const float* sorted;  // (tokens, padded) f32 in Groups::order, for the dense product; null when no group wants it
};

/** False: out of memory. */
bool prepareInputs(const Preparation& preparation, Prepared& prepared);

}  // namespace spexpand
