// Scales of weights by groups times scales of inputs by blocks, on AVX-512.
#pragma once

#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

/** For a stack with groups: factors of one row at a time. */
struct Scales {
  const Stack* stack;
  long blocks;          // of inputs
  long blocksPerGroup;
  float* factors;       // (tokens, stride())

  /** Blocks rounded up to whole vectors. */
  long stride() const { return (blocks + 15) / 16 * 16; }

  /** factors[t, b] = scale of the weights of `row` · scale of the inputs, per block. */
  template <int tokens>
  void multiply(long row, const float* const* blockScales) const {
    if (blocksPerGroup == 1) return multiplySame<tokens>(row, blockScales);
    for (long b = 0; b < blocks; b += 16) {
      const auto there = static_cast<__mmask16>(lowBits32(static_cast<int>(blocks - b)));
      const __m512 ofWeights = at(row, b);
      for (int t = 0; t < tokens; t++)
        _mm512_store_ps(factors + t * stride() + b,
                        _mm512_mul_ps(ofWeights, _mm512_maskz_loadu_ps(there, blockScales[t] + b)));
    }
  }

 private:
  /** One block a group. Blocks beyond the last group are padding: 0, as their inputs. */
  template <int tokens>
  void multiplySame(long row, const float* const* blockScales) const {
    const uint16_t* scales = stack->scales + row * stack->groups;
    for (long b = 0; b < blocks; b += 16) {
      const long left = stack->groups - b;
      const auto there = static_cast<__mmask16>(left < 16 ? (1 << left) - 1 : 0xffff);
      const __m512 ofWeights = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, scales + b));
      for (int t = 0; t < tokens; t++)
        _mm512_store_ps(factors + t * stride() + b,
                        _mm512_mul_ps(ofWeights, _mm512_maskz_loadu_ps(there, blockScales[t] + b)));
    }
  }

  /** Scales of the 16 blocks from b on. */
  __m512 at(long row, long b) const {
    const uint16_t* scales = stack->scales + row * stack->groups;
    alignas(64) uint16_t own[16];
    for (long i = 0; i < 16; i++) {
      const long group = (b + i) / blocksPerGroup;
      own[i] = group < stack->groups ? scales[group] : uint16_t{0};
    }
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(own)));
  }
};

}  // namespace spexpand::avx512
