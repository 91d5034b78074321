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
  const Parallel* parallel;
  long mostByRows;  // groups of more tokens go to panels
};

/** Memory belongs to the thread that asked, until it asks again. */
struct Prepared {
  Inputs inputs;  // for row kernels, by token
  const uint8_t* tiles;    // of all groups of more tokens, each beginning with a tile of its own
  const long* firstTile;   // (groups) of those
};

/** False: out of memory. */
bool prepareInputs(const Preparation& preparation, Prepared& prepared);

}  // namespace spexpand
