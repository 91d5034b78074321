// Panels in f32 on AVX2, and the table of the instruction set.
#include "kernels/panel.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

struct Vector {
  using Type = __m256;
  static constexpr long kWidth = 8;
  static Type load(const float* p) { return _mm256_load_ps(p); }
  static void store(float* p, Type v) { _mm256_store_ps(p, v); }
  static Type broadcast(float x) { return _mm256_set1_ps(x); }
  static Type fma(Type a, Type b, Type c) { return _mm256_fmadd_ps(a, b, c); }
};

void panel(const PanelTask& task) { FloatPanel<Vector, 6, 1>::run(task, decodeRow); }

}  // namespace

}  // namespace spexpand::avx2

namespace spexpand {

const Isa kAvx2 = {"avx2",
                   9,
                   9,
                   false,
                   avx2::halfRows,
                   avx2::roundInputs,
                   avx2::integerRows,
                   avx2::decodeRow,
                   kFloatTileBytes,
                   packFloatTile,
                   avx2::panel,
                   avx2::dot,
                   avx2::axpy,
                   avx2::countBits,
                   avx2::allFinite};

}  // namespace spexpand
