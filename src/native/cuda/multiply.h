// A tile's weights times its inputs, a stage at a time, by tensor cores.
// f16 inputs and f16 or integer weights: products of f16. Otherwise tf32: weights fit in its 11 bits, an f32 input is
// the sum of two such numbers to 2⁻²³ of itself. What tensor cores add up they cut off below 24 bits, so such sums are
// short and added to others in f32: after 128 inputs, or sooner where a group of integers ends and its scale applies.
#pragma once

#include "cuda/decode.h"

namespace spexpand {
namespace cuda {

/** How the warps of a block share a tile of kTokens tokens. */
template <int kTokens>
struct Shape {
  static constexpr int kRowWarps = 2;
  static constexpr int kRows = kTokens <= 32 ? 32 : 64;
  static constexpr int kTokenWarps = kTileWarps / kRowWarps;
  static constexpr int kRowTiles = kRows / kRowWarps / 16;        // of a warp, 16 rows each
  static constexpr int kTokenTiles = kTokens / kTokenWarps / 8;   // of a warp, 8 tokens each
};

template <ValueType kType, bool kHalf, int kTokens>
class Multiply {
  using S = Shape<kTokens>;
  static constexpr bool kIsF16 = kHalf && kType != ValueType::bf16;
  /** f16 times f16: as in every product of f16 by tensor cores, whose outputs are f16 too. */
  static constexpr bool kIsOneSum = kHalf && kType == ValueType::f16;

 public:
  using Input = typename Choose<kHalf, uint16_t, float>::Type;

  SPEXPAND_MEMBER Multiply(const Stack& stack, long row, int rows) : stack_(stack), row_(row), rows_(rows) {
    // In halves of a stage.
    const long group = stack.groupSize / kWarp;
    each_ = group % 4 == 0 ? 4 : group % 2 == 0 ? 2 : 1;
    wordsOfGroup_ = left_ = group ? static_cast<int>(group) : INT32_MAX;
  }

  SPEXPAND_MEMBER void add(const uint16_t (&weights)[S::kRows][kStride], const Input (&inputs)[kTokens][kStride],
                           int stage, bool isLast) {
    SPEXPAND_UNROLL
    for (int half = 0; half < 2; half++) {
      const bool closes = ((stage * 2 + half + 1) & (each_ - 1)) == 0 || (isLast && half == 1);
      float scales[S::kRowTiles][2];
      if (!kIsOneSum && closes) loadScales(scales);
      SPEXPAND_UNROLL
      for (int k = half * kWarp; k < (half + 1) * kWarp; k += 16) {
        if constexpr (kIsF16) addF16(weights, inputs, k);
        else addTf32(weights, inputs, k), addTf32(weights, inputs, k + 8);
      }
      if constexpr (!kIsOneSum) {
        if (closes) close(scales);
        if (kIsInteger<kType> && --left_ == 0) group_++, left_ = wordsOfGroup_;
      }
    }
  }

  /** store(token, row, sum) for what this thread has. */
  template <typename Store>
  SPEXPAND_MEMBER void finish(Store store) const {
    SPEXPAND_UNROLL
    for (int m = 0; m < S::kRowTiles; m++) {
      SPEXPAND_UNROLL
      for (int n = 0; n < S::kTokenTiles; n++) {
        SPEXPAND_UNROLL
        for (int c = 0; c < 4; c++)
          store(firstToken() + n * 8 + laneOf() % 4 * 2 + c % 2, firstRow() + m * 16 + laneOf() / 4 + c / 2 * 8,
                kIsOneSum ? parts_[m][n][c] : sums_[kIsOneSum ? 0 : m][kIsOneSum ? 0 : n][c]);
      }
    }
  }

 private:
  SPEXPAND_MEMBER int firstRow() const { return warpOf() % S::kRowWarps * S::kRowTiles * 16; }
  SPEXPAND_MEMBER int firstToken() const { return warpOf() / S::kRowWarps * S::kTokenTiles * 8; }

  SPEXPAND_MEMBER void addF16(const uint16_t (&weights)[S::kRows][kStride], const Input (&inputs)[kTokens][kStride],
                              int k) {
    const int lane = laneOf();
    uint32_t a[S::kRowTiles][4];
    SPEXPAND_UNROLL
    for (int m = 0; m < S::kRowTiles; m++)
      loadMatrices(a[m], &weights[firstRow() + m * 16 + lane % 16][k + lane / 16 * 8]);
    if constexpr (S::kTokenTiles == 1) {
      const Input* at = &inputs[firstToken() + lane / 4][k + lane % 4 * 2];
      const uint32_t low = *reinterpret_cast<const uint32_t*>(at);
      const uint32_t high = *reinterpret_cast<const uint32_t*>(at + 8);
      SPEXPAND_UNROLL
      for (int m = 0; m < S::kRowTiles; m++) multiplyF16(parts_[m][0], a[m], low, high);
    } else {
      SPEXPAND_UNROLL
      for (int n = 0; n < S::kTokenTiles; n += 2) {
        uint32_t b[4];
        loadMatrices(b, &inputs[firstToken() + n * 8 + lane % 8 + lane / 16 * 8][k + lane / 8 % 2 * 8]);
        SPEXPAND_UNROLL
        for (int m = 0; m < S::kRowTiles; m++) {
          multiplyF16(parts_[m][n], a[m], b[0], b[1]);
          multiplyF16(parts_[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  /** 8 inputs; of each pair of neighbours PTX's first half takes the first, its second half the other. */
  SPEXPAND_MEMBER void addTf32(const uint16_t (&weights)[S::kRows][kStride], const Input (&inputs)[kTokens][kStride],
                               int k) {
    const int at = k + laneOf() % 4 * 2;
    const int g = laneOf() / 4;
    float a[S::kRowTiles][4];
    SPEXPAND_UNROLL
    for (int m = 0; m < S::kRowTiles; m++) {
      SPEXPAND_UNROLL
      for (int i = 0; i < 2; i++) {
        const auto* two = reinterpret_cast<const uint32_t*>(&weights[firstRow() + m * 16 + g + i * 8][at]);
        a[m][i] = weightOf(*two & 0xffff);
        a[m][i + 2] = weightOf(*two >> 16);
      }
    }
    SPEXPAND_UNROLL
    for (int n = 0; n < S::kTokenTiles; n++) {
      const Input* from = &inputs[firstToken() + n * 8 + g][at];
      if constexpr (kHalf) {
        const uint32_t two = *reinterpret_cast<const uint32_t*>(from);
        SPEXPAND_UNROLL
        for (int m = 0; m < S::kRowTiles; m++) multiplyTf32(parts_[m][n], a[m], lowHalf(two), lowHalf(two >> 16));
      } else {
        const Pair<float> x = *reinterpret_cast<const Pair<float>*>(from);
        const float high[2] = {roundTf32(x.a), roundTf32(x.b)};
        const float low[2] = {roundTf32(x.a - high[0]), roundTf32(x.b - high[1])};
        SPEXPAND_UNROLL
        for (int m = 0; m < S::kRowTiles; m++) {
          multiplyTf32(parts_[m][n], a[m], high[0], high[1]);
          multiplyTf32(parts_[m][n], a[m], low[0], low[1]);
        }
      }
    }
  }

  static SPEXPAND_MEMBER float weightOf(uint32_t half) {
    return kType == ValueType::bf16 ? floatOf(half << 16) : lowHalf(half);
  }

  /** Scales of the group for this lane's rows: asked for before they are needed. */
  SPEXPAND_MEMBER void loadScales(float (&scales)[S::kRowTiles][2]) const {
    // The last stage may go one group beyond the last one: zeros, whatever their scale.
    const int last = static_cast<int>(stack_.groups) - 1;
    [[maybe_unused]] const int now = group_ < last ? group_ : last;
    SPEXPAND_UNROLL
    for (int m = 0; m < S::kRowTiles; m++) {
      SPEXPAND_UNROLL
      for (int i = 0; i < 2; i++) {
        const int r = firstRow() + m * 16 + laneOf() / 4 + i * 8;
        scales[m][i] = 1;
        if constexpr (kIsInteger<kType>)
          scales[m][i] = r < rows_ ? f16At(stack_.scales, (row_ + r) * stack_.groups + now) : 0;
      }
    }
  }

  /** Adds the parts, scaled, to the sums. */
  SPEXPAND_MEMBER void close(const float (&scales)[S::kRowTiles][2]) {
    SPEXPAND_UNROLL
    for (int m = 0; m < S::kRowTiles; m++) {
      SPEXPAND_UNROLL
      for (int n = 0; n < S::kTokenTiles; n++) {
        SPEXPAND_UNROLL
        for (int c = 0; c < 4; c++) {
          sums_[kIsOneSum ? 0 : m][kIsOneSum ? 0 : n][c] += scales[m][c / 2] * parts_[m][n][c];
          parts_[m][n][c] = 0;
        }
      }
    }
  }

  const Stack& stack_;
  const long row_;
  const int rows_;
  int each_;
  int group_ = 0;     // of the inputs to come
  int left_;          // words of it
  int wordsOfGroup_;
  float parts_[S::kRowTiles][S::kTokenTiles][4] = {};
  float sums_[kIsOneSum ? 1 : S::kRowTiles][kIsOneSum ? 1 : S::kTokenTiles][4] = {};
};

}  // namespace cuda
}  // namespace spexpand
