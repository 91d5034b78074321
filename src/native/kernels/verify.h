// Checks of the content of a stack: after them no kernel can read outside it.
#pragma once

#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "kernels/stack.h"

namespace spexpand {

/**
 * Fills in valueCount, which packed int4 values do not tell by themselves, from the last row.
 * `storedValues`: elements of the values tensor (bytes for int4). Checks both ends of them.
 */
bool completeStack(Stack& stack, long storedValues, Error& error);

/**
 * Expert e: offsets in order and inside the values, bits of each row as many as its values, no bits from input K on,
 * values and scales finite.
 */
bool verifyExpert(const Isa& isa, const Stack& stack, long expert, Error& error);

/** Several experts at once; the error is that of the first wrong one. */
bool verifyExperts(const Isa& isa, const Parallel& parallel, const Stack& stack, const long* experts, long count,
                   Error& error);

}  // namespace spexpand
