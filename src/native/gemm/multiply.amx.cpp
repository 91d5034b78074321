// f32 products on AMX bf16 tiles. Every f32 is split into three bf16 parts, x = high + middle + low (8 + 8 + 8 bits),
// and the products high·high, high·middle, middle·high, middle·middle, high·low and low·high are summed in f32; the
// three left out are at most 2^-23 |a||b|. The fast form has high and middle only and three products: 3 · 2^-16 |a||b|.
// Parts that are zero throughout a panel (bf16 weights have but a high one) are left out: the sums stay the same.
// Numbers below 2^-110 count as zero (tiles flush bf16 subnormals).
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gemm/backend.h"
#include "gemm/scratch.h"
#include "kernels/transpose.avx512.h"

namespace spexpand::gemm {

namespace {

constexpr long kTile = 16;          // rows of a tile, and columns of an f32 tile
constexpr long kStep = 32;          // k of one tile product
constexpr long kBlock = 2 * kTile;  // rows and columns of C in registers: 2 x 2 tiles
constexpr long kTileBytes = 1024;
/** Bytes of 32 rows (or columns) and 32 k: high 0, high 1, middle 0, middle 1, and low 0, low 1 with three parts. */
template <int parts>
constexpr long kPanelStep = 2 * parts * kTileBytes;
/** Steps of k packed at once: a panel of B stays near while the panels of A pass by. */
constexpr long kSteps = 16;
/** Rows of A packed at once, to fit the L2 cache with the panel of B. */
constexpr long kRows = 384;

struct TileConfig {
  uint8_t palette = 1;
  uint8_t startRow = 0;
  uint8_t reserved[14] = {};
  uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/** Two vectors of 16 f32 as three vectors of 32 bf16; `first` fills the lower halves. */
struct Parts {
  __m512i high, middle, low;
};

inline __m512 widen(__m256i bf16) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16)); }

inline Parts split(__m512 first, __m512 second) {
  const auto lower = [](__m512i v) { return widen(_mm512_castsi512_si256(v)); };
  const auto upper = [](__m512i v) { return widen(_mm512_extracti64x4_epi64(v, 1)); };
  const __m512i high = (__m512i)_mm512_cvtne2ps_pbh(second, first);
  first = _mm512_sub_ps(first, lower(high));
  second = _mm512_sub_ps(second, upper(high));
  const __m512i middle = (__m512i)_mm512_cvtne2ps_pbh(second, first);
  first = _mm512_sub_ps(first, lower(middle));
  second = _mm512_sub_ps(second, upper(middle));
  return {high, middle, (__m512i)_mm512_cvtne2ps_pbh(second, first)};
}

/** Whether any of 32 bf16 is neither 0 nor -0. */
inline bool isNotZero(__m512i bf16) { return _mm512_test_epi16_mask(bf16, _mm512_set1_epi16(0x7fff)) != 0; }

inline __mmask16 firstLanes(long count) { return count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1; }

/** A tile whose 16 rows lie along the source's rows: 32 k each, zeros beyond `rows` and `depth`. */
inline void tileAlong(const float* from, long stride, long rows, long depth, Parts out[16]) {
  const __mmask16 m0 = firstLanes(depth), m1 = firstLanes(depth - 16);
  for (long i = 0; i < kTile; i++) {
    const bool inside = i < rows;
    const float* row = from + (inside ? i : 0) * stride;
    const __m512 first = _mm512_maskz_loadu_ps(inside ? m0 : 0, row);
    const __m512 second = _mm512_maskz_loadu_ps(inside ? m1 : 0, row + 16);
    out[i] = split(first, second);
  }
}

/** A tile of pairs from a source whose rows are k: row p holds, for 16 columns, the numbers of k = 2p and 2p + 1. */
inline void tileAcross(const float* from, long stride, long columns, long depth, Parts out[16]) {
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __mmask16 mask = firstLanes(columns);
  for (long p = 0; p < kTile; p++) {
    const __mmask16 m0 = 2 * p < depth ? mask : 0, m1 = 2 * p + 1 < depth ? mask : 0;
    const float* row = from + (m0 ? 2 * p * stride : 0);
    const Parts parts = split(_mm512_maskz_loadu_ps(m0, row), _mm512_maskz_loadu_ps(m1, m1 ? row + stride : row));
    out[p] = {_mm512_permutexvar_epi16(interleave, parts.high), _mm512_permutexvar_epi16(interleave, parts.middle),
              _mm512_permutexvar_epi16(interleave, parts.low)};
  }
}

/**
 * Packs 32 rows of op(A), or 32 columns of op(B), from depth k on: kPanelStep bytes per 32 k. `along`: the source holds
 * k contiguously. Rows of a tile of A are rows of the source, those of B are pairs of k: one of the two is transposed.
 * Returns how many parts are not zero throughout, at least one.
 */
template <int parts>
uint8_t packPanel(const float* from, long stride, bool along, bool isB, long count, long depth, uint8_t* to) {
  __m512i middle = _mm512_setzero_si512(), low = middle;
  for (long k = 0; k < depth; k += kStep, to += kPanelStep<parts>)
    for (long half = 0; half < 2; half++) {
      Parts rows[16];
      const long left = count - half * kTile;
      const float* at = along ? from + half * kTile * stride + k : from + k * stride + half * kTile;
      if (left <= 0) {
        for (Parts& row : rows) row = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
      } else if (along) {
        tileAlong(at, stride, left, depth - k, rows);
      } else {
        tileAcross(at, stride, left, depth - k, rows);
      }
      for (const Parts& row : rows) {
        middle = _mm512_or_si512(middle, row.middle);
        low = _mm512_or_si512(low, row.low);
      }
      __m512i part[16];
      for (int which = 0; which < parts; which++) {
        for (int i = 0; i < 16; i++) part[i] = which == 0 ? rows[i].high : which == 1 ? rows[i].middle : rows[i].low;
        if (along == isB) avx512::transpose16x16(part);
        for (int i = 0; i < 16; i++) _mm512_store_si512(to + (2 * which + half) * kTileBytes + 64 * i, part[i]);
      }
    }
  if (parts > 2 && isNotZero(low)) return 3;
  return parts > 1 && isNotZero(middle) ? 2 : 1;
}

inline void multiplyTiles() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

inline void loadA(const uint8_t* a) {
  _tile_loadd(4, a, 64);
  _tile_loadd(5, a + kTileBytes, 64);
}

inline void loadB(const uint8_t* b) {
  _tile_loadd(6, b, 64);
  _tile_loadd(7, b + kTileBytes, 64);
}

/** The products of part `i` of A, which is loaded, with the first parts of B; `i` + `j` < parts keeps the largest. */
template <int parts, int ofB, int i, bool isRising>
inline void multiplyPart(const uint8_t* b) {
  constexpr int count = std::min(ofB, parts - i);
  for (int step = 0; step < count; step++) {
    // Rising passes begin with the part of B that the falling pass before them ended with.
    if (!isRising || step > 0) loadB(b + 2 * kTileBytes * (isRising ? step : count - 1 - step));
    multiplyTiles();
  }
}

/** 32 x 32 sums over `steps` steps of k into `sums` (32, 32), of the parts that A and B have. */
template <int parts, int ofA, int ofB>
void multiplyPanels(const uint8_t* a, const uint8_t* b, long steps, float* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (long s = 0; s < steps; s++, a += kPanelStep<parts>, b += kPanelStep<parts>) {
    loadA(a);
    multiplyPart<parts, ofB, 0, false>(b);
    if constexpr (ofA > 2) {
      loadA(a + 4 * kTileBytes);
      multiplyPart<parts, ofB, 2, true>(b);
    }
    if constexpr (ofA > 1) {
      loadA(a + 2 * kTileBytes);
      multiplyPart<parts, ofB, 1, true>(b);
    }
  }
  _tile_stored(0, sums, kBlock * 4);
  _tile_stored(1, sums + kTile, kBlock * 4);
  _tile_stored(2, sums + kTile * kBlock, kBlock * 4);
  _tile_stored(3, sums + kTile * kBlock + kTile, kBlock * 4);
}

using MultiplyPanels = void (*)(const uint8_t* a, const uint8_t* b, long steps, float* sums);

/** By the parts of a panel of A and of one of B, less one. */
template <int parts>
constexpr MultiplyPanels kByParts[3][3] = {
    {multiplyPanels<parts, 1, 1>, multiplyPanels<parts, 1, 2>, multiplyPanels<parts, 1, 3>},
    {multiplyPanels<parts, 2, 1>, multiplyPanels<parts, 2, 2>, multiplyPanels<parts, 2, 3>},
    {multiplyPanels<parts, 3, 1>, multiplyPanels<parts, 3, 2>, multiplyPanels<parts, 3, 3>},
};

/** C = alpha · sums + beta · C on a block of C that may be cut off by its edges. */
void addBlock(const float* sums, long rows, long columns, float alpha, float beta, float* C, long ldc) {
  const __m512 a = _mm512_set1_ps(alpha), b = _mm512_set1_ps(beta);
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < columns; j += 16) {
      const __mmask16 mask = firstLanes(columns - j);
      float* c = C + i * ldc + j;
      const __m512 sum = _mm512_mul_ps(a, _mm512_load_ps(sums + i * kBlock + j));
      _mm512_mask_storeu_ps(c, mask, beta == 0 ? sum : _mm512_fmadd_ps(b, _mm512_maskz_loadu_ps(mask, c), sum));
    }
}

inline long divideUp(long a, long b) { return (a + b - 1) / b; }

template <int parts>
void multiply(const Product& p) {
  constexpr long panelStep = kPanelStep<parts>;
  const long panels = divideUp(p.n, kBlock);
  auto* partsOfB = static_cast<uint8_t*>(scratch<4>(panels));
  uint8_t partsOfA[kRows / kBlock];
  const long stepsAtMost = std::min(kSteps, divideUp(p.k, kStep));
  auto* packedB = static_cast<uint8_t*>(scratch<0>(panels * stepsAtMost * panelStep));
  auto* packedA = static_cast<uint8_t*>(scratch<1>(divideUp(std::min(p.m, kRows), kBlock) * stepsAtMost * panelStep));
  alignas(64) float sums[kBlock * kBlock];
  const TileConfig config;
  _tile_loadconfig(&config);
  for (long k = 0; k < p.k; k += kSteps * kStep) {
    const long depth = std::min(p.k - k, kSteps * kStep);
    const long steps = divideUp(depth, kStep);
    const float beta = k == 0 ? p.beta : 1;
    for (long j = 0; j < panels; j++) {
      const float* from = p.transB ? p.B + j * kBlock * p.ldb + k : p.B + k * p.ldb + j * kBlock;
      uint8_t* to = packedB + j * steps * panelStep;
      partsOfB[j] = packPanel<parts>(from, p.ldb, p.transB, true, p.n - j * kBlock, depth, to);
    }
    for (long top = 0; top < p.m; top += kRows) {
      const long rows = std::min(p.m - top, kRows);
      for (long i = 0; i < rows; i += kBlock) {
        const float* from = p.transA ? p.A + k * p.lda + top + i : p.A + (top + i) * p.lda + k;
        uint8_t* to = packedA + i / kBlock * steps * panelStep;
        partsOfA[i / kBlock] = packPanel<parts>(from, p.lda, !p.transA, false, rows - i, depth, to);
      }
      for (long j = 0; j < panels; j++)
        for (long i = 0; i < rows; i += kBlock) {
          const long column = j * kBlock;
          if (p.lowerOnly && column >= top + i + kBlock) continue;
          kByParts<parts>[partsOfA[i / kBlock] - 1][partsOfB[j] - 1](
              packedA + i / kBlock * steps * panelStep, packedB + j * steps * panelStep, steps, sums);
          addBlock(sums, std::min(rows - i, kBlock), std::min(p.n - column, kBlock), p.alpha, beta,
                   p.C + (top + i) * p.ldc + column, p.ldc);
        }
    }
  }
  _tile_release();
}

}  // namespace

void multiplyAmx(const Product& p) {
  if (p.parts == 1) return multiply<1>(p);
  p.parts == 2 ? multiply<2>(p) : multiply<3>(p);
}

}  // namespace spexpand::gemm
