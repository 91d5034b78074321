// What a product of the device works on. Pointers are device memory.
#pragma once

#include <cstdint>

namespace spexpand {
namespace cuda {

struct Product {
  long tokens;
  const void* x;          // (tokens, K), f32 or f16
  const int64_t* expert;  // (tokens); of one outside [0, E) the outputs become NaN and `notice` tells
  void* y;                // (tokens, N), as x
  unsigned long long* notice;
};

/** The layer, and its working memory. */
struct Neurons {
  long tokens;
  long inputs;           // K
  long outputs;          // N
  long neurons;          // F
  const void* x;         // (tokens, K), f32 or f16
  const int64_t* index;  // (count); if one is outside [0, F) or there twice all outputs become NaN and `notice` tells
  long count;
  const void* gate;      // (F, K)
  const void* up;        // (F, K)
  const void* down;      // (F, N)
  void* y;               // (tokens, N), as x
  unsigned long long* notice;
  float* h;              // (tokens, count)
  unsigned* seen;        // (F + 1) zeros; the last: an index is bad
};

}  // namespace cuda
}  // namespace spexpand
