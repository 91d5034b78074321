// Panels in f32 on AVX-512, and the table of the instruction set.
#include "kernels/panel.h"
#include "kernels/rows.avx512.h"
#include "kernels/transpose.avx512.h"

namespace spexpand::avx512 {

namespace {

struct Vector {
  using Type = __m512;
  static constexpr long kWidth = 16;
  static Type load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, Type v) { _mm512_store_ps(p, v); }
  static Type broadcast(float x) { return _mm512_set1_ps(x); }
  static Type fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
};

void packTile(const float* x, long tokens, long padded, uint8_t* out) {
  auto* to = reinterpret_cast<float*>(out);
  for (long k = 0; k < padded; k += 16) {
    __m512i square[16];
    for (long t = 0; t < 16; t++)
      square[t] = t < tokens ? _mm512_loadu_si512(x + t * padded + k) : _mm512_setzero_si512();
    transpose16x16(square);
    for (long i = 0; i < 16; i++) _mm512_store_si512(to + (k + i) * kTileTokens, square[i]);
  }
}

void panel(const PanelTask& task) { FloatPanel<Vector, 12, 2>::run(task, decodeRow); }

}  // namespace

}  // namespace spexpand::avx512

namespace spexpand {

const Isa kAvx512 = {"avx512",
                     9,
                     25,
                     true,
                     avx512::halfRows,
                     avx512::roundInputs,
                     avx512::integerRows,
                     avx512::decodeRow,
                     kFloatTileBytes,
                     avx512::packTile,
                     avx512::panel,
                     avx512::dot,
                     avx512::axpy,
                     avx512::countBits,
                     avx512::allFinite};

}  // namespace spexpand
