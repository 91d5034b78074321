#include "kernels/groups.h"

#include "kernels/scratch.h"

namespace spexpand {

bool groupByExpert(const int64_t* expert, long tokens, long experts, Groups& groups) {
  const size_t longs = static_cast<size_t>(3 * experts + 2);
  auto* memory = static_cast<long*>(threadScratch<0>(longs * sizeof(long) + static_cast<size_t>(tokens) * 8));
  if (!memory) return false;
  long* const next = memory;
  long* const names = memory + experts;
  long* const begin = names + experts;
  auto* const order = reinterpret_cast<int64_t*>(memory + longs);
  for (long e = 0; e < experts; e++) next[e] = 0;
  for (long t = 0; t < tokens; t++) next[expert[t]]++;
  long count = 0;
  long sum = 0;
  for (long e = 0; e < experts; e++) {
    const long tokensOfExpert = next[e];
    next[e] = sum;
    if (tokensOfExpert == 0) continue;
    names[count] = e;
    begin[count++] = sum;
    sum += tokensOfExpert;
  }
  begin[count] = sum;
  for (long t = 0; t < tokens; t++) order[next[expert[t]]++] = t;
  groups = {count, names, begin, order};
  return true;
}

}  // namespace spexpand
