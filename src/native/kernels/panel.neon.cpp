// Panels in f32 on NEON, and the tables of its instruction sets.
#include "kernels/panel.h"
#include "kernels/rows.neon.h"

namespace spexpand::neon {

namespace {

struct Vector {
  using Type = float32x4_t;
  static constexpr long kWidth = 4;
  static Type load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Type v) { vst1q_f32(p, v); }
  static Type broadcast(float x) { return vdupq_n_f32(x); }
  static Type fma(Type a, Type b, Type c) { return vfmaq_f32(c, a, b); }
};

/** 6 rows of 16 tokens: 24 sums, 4 vectors of inputs and a weight in 32 registers. */
void panel(const PanelTask& task) { FloatPanel<Vector, 6, 1>::run(task, decodeRow); }

}  // namespace

}  // namespace spexpand::neon

namespace spexpand {

const Isa kNeon = {"neon",
                   9,
                   9,
                   false,
                   neon::halfRows,
                   neon::roundInputs,
                   neon::integerRows,
                   neon::decodeRow,
                   kFloatTileBytes,
                   packFloatTile,
                   neon::panel,
                   neon::dot,
                   neon::axpy,
                   neon::countBits,
                   neon::allFinite};

// sdot adds 16 products where a panel's instruction adds 4: rows decoded three times over cost less than one panel. That
// is counted in instructions, not measured.
const Isa kNeonDot = {"neon-dot",
                      9,
                      25,
                      false,
                      neon::halfRows,
                      neon::roundInputs,
                      neon::integerRowsDot,
                      neon::decodeRow,
                      kFloatTileBytes,
                      packFloatTile,
                      neon::panel,
                      neon::dot,
                      neon::axpy,
                      neon::countBits,
                      neon::allFinite};

}  // namespace spexpand
