// Integer values on any NEON: products of 16 bits, added in pairs.
#include "kernels/rows_integer.neon.h"

namespace spexpand::neon {

namespace {

struct Widening {
  static int32x4_t add(int32x4_t sums, int8x16_t weights, int8x16_t x) {
    // 2 · 128 · 127 fits 16 bits: rounded inputs are never −128.
    const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(x));
    return vpadalq_s16(sums, vmlal_high_s8(low, weights, x));
  }
};

}  // namespace

void integerRows(const RowsTask& task) { integerRowsBy<Widening>(task); }

}  // namespace spexpand::neon
