// Integer values by sdot (FEAT_DotProd): one instruction where NEON takes three.
#include "kernels/rows_integer.neon.h"

namespace spexpand::neon {

namespace {

struct Dot {
  static int32x4_t add(int32x4_t sums, int8x16_t weights, int8x16_t x) { return vdotq_s32(sums, weights, x); }
};

}  // namespace

void integerRowsDot(const RowsTask& task) { integerRowsBy<Dot>(task); }

}  // namespace spexpand::neon
