// The blocked f32 product for processors without tiles, over a vector type V: V::kWidth, load, store, broadcast, fma.
#pragma once

#include <algorithm>

#include "gemm/backend.h"
#include "gemm/scratch.h"

namespace spexpand::gemm {

template <class V, int kRowsInRegisters, int kVectors>
class Blocked {
  static constexpr long kColumns = kVectors * V::kWidth;
  static constexpr long kDepth = 256;
  static constexpr long kHeight = 16 * kRowsInRegisters;

 public:
  static void multiply(const Product& p) {
    const long panels = (p.n + kColumns - 1) / kColumns;
    const long depthAtMost = std::min(p.k, kDepth);
    auto* packedB = static_cast<float*>(scratch<2>(panels * kColumns * depthAtMost * sizeof(float)));
    auto* packedA = static_cast<float*>(scratch<3>((kHeight + kRowsInRegisters) * depthAtMost * sizeof(float)));
    for (long k = 0; k < p.k; k += kDepth) {
      const long depth = std::min(p.k - k, kDepth);
      for (long j = 0; j < panels; j++) packB(p, k, depth, j * kColumns, packedB + j * kColumns * depth);
      for (long top = 0; top < p.m; top += kHeight) {
        const long rows = std::min(p.m - top, kHeight);
        for (long i = 0; i < rows; i += kRowsInRegisters) packA(p, k, depth, top + i, packedA + i * depth);
        for (long j = 0; j < panels; j++)
          for (long i = 0; i < rows; i += kRowsInRegisters) {
            if (p.lowerOnly && j * kColumns >= top + i + kRowsInRegisters) continue;
            block(p, packedA + i * depth, packedB + j * kColumns * depth, depth, top + i, j * kColumns, k == 0);
          }
      }
    }
  }

 private:
  static void packA(const Product& p, long k, long depth, long row, float* to) {
    for (long d = 0; d < depth; d++)
      for (long i = 0; i < kRowsInRegisters; i++)
        *to++ = row + i >= p.m ? 0 : p.transA ? p.A[(k + d) * p.lda + row + i] : p.A[(row + i) * p.lda + k + d];
  }

  static void packB(const Product& p, long k, long depth, long column, float* to) {
    for (long d = 0; d < depth; d++)
      for (long j = 0; j < kColumns; j++)
        *to++ = column + j >= p.n ? 0 : p.transB ? p.B[(column + j) * p.ldb + k + d] : p.B[(k + d) * p.ldb + column + j];
  }

  static void block(const Product& p, const float* a, const float* b, long depth, long row, long column, bool isFirst) {
    typename V::Type sums[kRowsInRegisters][kVectors];
    for (int i = 0; i < kRowsInRegisters; i++)
      for (int v = 0; v < kVectors; v++) sums[i][v] = V::broadcast(0);
    for (long d = 0; d < depth; d++, a += kRowsInRegisters, b += kColumns) {
      typename V::Type right[kVectors];
      for (int v = 0; v < kVectors; v++) right[v] = V::load(b + v * V::kWidth);
      for (int i = 0; i < kRowsInRegisters; i++) {
        const typename V::Type left = V::broadcast(a[i]);
        for (int v = 0; v < kVectors; v++) sums[i][v] = V::fma(left, right[v], sums[i][v]);
      }
    }
    const float beta = isFirst ? p.beta : 1;
    const long rows = std::min<long>(kRowsInRegisters, p.m - row), columns = std::min(kColumns, p.n - column);
    for (long i = 0; i < rows; i++) {
      float line[kColumns];
      for (int v = 0; v < kVectors; v++) V::store(line + v * V::kWidth, sums[i][v]);
      float* c = p.C + (row + i) * p.ldc + column;
      for (long j = 0; j < columns; j++) c[j] = p.alpha * line[j] + (beta == 0 ? 0 : beta * c[j]);
    }
  }
};

}  // namespace spexpand::gemm
