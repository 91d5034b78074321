// Panels in f32, for processors without tiles, over a vector type V: V::kWidth, load, store, broadcast, fma. Static, as
// everything that files of several instruction sets share.
#pragma once

#include <cstring>

#include "kernels/isa.h"

namespace spexpand {

/** Bytes of a packed tile per input. */
constexpr long kFloatTileBytes = kTileTokens * 4;

/** Inputs of 16 tokens side by side. */
static inline void packFloatTile(const float* x, long tokens, long padded, uint8_t* out) {
  auto* to = reinterpret_cast<float*>(out);
  for (long k = 0; k < padded; k++)
    for (long t = 0; t < kTileTokens; t++) to[k * kTileTokens + t] = t < tokens ? x[t * padded + k] : 0;
}

/**
 * kRows decoded rows at a time times kTiles tiles of tokens, sums in registers. `decode` as Isa::decodeRow.
 */
template <class V, int kRows, int kTiles>
struct FloatPanel {
  static constexpr int kVectors = kTiles * static_cast<int>(kTileTokens) / static_cast<int>(V::kWidth);
  static constexpr long kTokens = kTiles * kTileTokens;
  using Decode = void (*)(const Stack&, long, float*, long, void*);

  static void run(const PanelTask& task, Decode decode) {
    auto* weights = static_cast<float*>(task.scratch);
    for (long r = 0; r < task.rows; r += kRows) {
      const long rows = task.rows - r < kRows ? task.rows - r : kRows;
      for (long i = 0; i < kRows; i++) {
        // Rows that are missing are the last one again, and not written.
        const long row = task.row + r + (i < rows ? i : rows - 1);
        decode(*task.stack, row, weights + i * task.padded, task.padded, weights + kRows * task.padded);
      }
      for (long first = 0; first < task.tokenCount; first += kTokens) {
        const bool isOneTile = task.tokenCount - first <= kTileTokens;
        if (isOneTile) FloatPanel<V, kRows, 1>::block(task, weights, r, rows, first);
        else block(task, weights, r, rows, first);
      }
    }
  }

  /** Rows r … r + rows − 1 of the task, decoded in `weights`, for up to kTokens tokens from `first` on. */
  static void block(const PanelTask& task, const float* weights, long r, long rows, long first) {
    const long stride = task.padded * kTileTokens;
    const long tokens = task.tokenCount - first < kTokens ? task.tokenCount - first : kTokens;
    const float* x = reinterpret_cast<const float*>(task.packed) + first / kTileTokens * stride;
    alignas(64) float sums[kRows][kTokens];
    multiply(task, weights, x, stride, sums);
    for (long t = 0; t < tokens; t++) {
      float* y = task.y + task.tokens[first + t] * task.yStride + task.column + r;
      for (long i = 0; i < rows; i++) y[i] = sums[i][t];
    }
  }

 private:
  static void multiply(const PanelTask& task, const float* weights, const float* x, long stride,
                       float (*sums)[kTokens]) {
    constexpr int kPerTile = static_cast<int>(kTileTokens) / static_cast<int>(V::kWidth);
    typename V::Type sum[kRows][kVectors];
    for (int i = 0; i < kRows; i++)
      for (int v = 0; v < kVectors; v++) sum[i][v] = V::broadcast(0);
    const long padded = task.padded;
    for (long k = 0; k < task.stack->inputs; k++) {
      typename V::Type right[kVectors];
      for (int v = 0; v < kVectors; v++)
        right[v] = V::load(x + v / kPerTile * stride + k * kTileTokens + v % kPerTile * V::kWidth);
      for (int i = 0; i < kRows; i++) {
        const typename V::Type left = V::broadcast(weights[i * padded + k]);
        for (int v = 0; v < kVectors; v++) sum[i][v] = V::fma(left, right[v], sum[i][v]);
      }
    }
    for (int i = 0; i < kRows; i++)
      for (int v = 0; v < kVectors; v++) V::store(sums[i] + v * V::kWidth, sum[i][v]);
  }
};

}  // namespace spexpand
