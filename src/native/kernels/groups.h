// Tokens by expert.
#pragma once

#include <cstdint>

namespace spexpand {

/** Memory belongs to the thread that asked, until it asks again. */
struct Groups {
  long count;            // experts that occur
  const long* expert;    // (count) ascending
  const long* begin;     // (count + 1) in `order`
  const int64_t* order;  // (tokens) tokens by expert, ascending within one
};

/** False: out of memory. */
bool groupByExpert(const int64_t* expert, long tokens, long experts, Groups& groups);

}  // namespace spexpand
