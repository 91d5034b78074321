// Inputs rounded to int8 on NEON. Its kernels multiply signed numbers: they take no corrections.
#include <cstring>

#include "kernels/rounded.h"
#include "kernels/rows.neon.h"

namespace spexpand::neon {

namespace {

/** The largest magnitude; they order like their bits, NaN above all. */
inline float largest(const float* x, long count) {
  uint32x4_t most = vdupq_n_u32(0);
  for (long i = 0; i < count; i += 4) {
    const uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(x + i));
    most = vmaxq_u32(most, vandq_u32(bits, vdupq_n_u32(0x7fffffff)));
  }
  return bitsToFloat(vmaxvq_u32(most));
}

/** Eight to the nearest integers, ties to even. */
inline int16x8_t roundEight(const float* x, float32x4_t inverse) {
  const int32x4_t low = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x), inverse));
  const int32x4_t high = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + 4), inverse));
  return vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
}

inline float roundBlock(const float* x, long count, int8_t* rounded) {
  const float most = largest(x, count);
  if (!(most < __builtin_inff())) {
    std::memset(rounded, 0, static_cast<size_t>(count));
    return __builtin_nanf("");
  }
  const float32x4_t inverse = vdupq_n_f32(most > kLeastBlock ? 127.0f / most : 0.0f);
  for (long i = 0; i < count; i += 16)
    vst1q_s8(rounded + i,
             vcombine_s8(vqmovn_s16(roundEight(x + i, inverse)), vqmovn_s16(roundEight(x + i + 8, inverse))));
  return most > kLeastBlock ? most / 127.0f : 0.0f;
}

}  // namespace

void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t*) {
  const long inputs = rounding.blockInputs;
  for (long block = 0; block < rounding.padded / inputs; block++)
    scales[block] = roundBlock(x + block * inputs, inputs, rounded + block * inputs);
}

}  // namespace spexpand::neon
