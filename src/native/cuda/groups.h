// Tokens by expert, on the device: the host never waits to learn who goes where.
#pragma once

#include "cuda/product.h"
#include "cuda/device.h"

namespace spexpand {
namespace cuda {

constexpr int kGroupThreads = 256;

/** Tokens of one expert, cut into tiles. Device memory. */
struct Tiles {
  long experts;
  int each;         // tokens of a full tile
  int* begin;       // (experts) first token of each in `order`
  int* order;       // (tokens) tokens by expert, ascending within one
  int* expert;      // (mostTiles)
  int* first;       // (mostTiles) in `order`
  int* end;         // (mostTiles) in `order`
  int* count;       // tiles that there are
};

/** A bound that needs no counting: whole tiles, and one more per expert that occurs. */
static inline long mostTiles(long tokens, long experts, int each) {
  return tokens / each + (experts < tokens ? experts : tokens);
}

/** Tokens of expert e into `order` from `at` on, by one warp, 32 at a time; null: only counts. Returns the end. */
SPEXPAND_DEVICE int gather(const Product& product, long e, int at, int* order) {
  const int lane = laneOf();
  for (long from = 0; from < product.tokens; from += kWarp) {
    const long t = from + lane;
    const bool isMine = t < product.tokens && product.expert[t] == e;
    const unsigned votes = __ballot_sync(kAllLanes, isMine);
    if (isMine && order) order[at + __popc(votes & ((1u << lane) - 1))] = static_cast<int>(t);
    at += __popc(votes);
  }
  return at;
}

/** NaN for the tokens of no expert: they are in no tile. */
template <bool kHalf>
SPEXPAND_DEVICE void refuse(const Product& product, long experts, long outputs) {
  for (long t = static_cast<long>(threadIdx.x); t < product.tokens; t += kGroupThreads) {
    const int64_t e = product.expert[t];
    if (e >= 0 && e < experts) continue;
    complain(product.notice, t, e);
    for (long n = 0; n < outputs; n++) storeOutput<kHalf>(product.y, t * outputs + n, notANumber());
  }
}

/** Grid (1), kGroupThreads threads. */
template <bool kHalf>
SPEXPAND_KERNEL groupTokens(const Product product, const Tiles tiles, const long outputs) {
  constexpr long kWarps = kGroupThreads / kWarp;
  refuse<kHalf>(product, tiles.experts, outputs);
  for (long e = warpOf(); e < tiles.experts; e += kWarps) {
    const int count = gather(product, e, 0, nullptr);
    if (laneOf() == 0) tiles.begin[e] = count;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    int at = 0;
    int tile = 0;
    for (long e = 0; e < tiles.experts; e++) {
      const int end = at + tiles.begin[e];
      tiles.begin[e] = at;
      for (; at < end; at += tiles.each, tile++) {
        tiles.expert[tile] = static_cast<int>(e);
        tiles.first[tile] = at;
        tiles.end[tile] = at + tiles.each < end ? at + tiles.each : end;
      }
      at = end;
    }
    *tiles.count = tile;
  }
  __syncthreads();
  for (long e = warpOf(); e < tiles.experts; e += kWarps) gather(product, e, tiles.begin[e], tiles.order);
}

}  // namespace cuda
}  // namespace spexpand
