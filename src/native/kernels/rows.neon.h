// What the NEON files share. Static, or in the namespace of the instruction set: nothing here may be linked elsewhere.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/shuffles.h"

namespace spexpand::neon {

// Bytes from what is read to what is asked for, as on x86; never tuned on a processor.
constexpr long kAhead = 4096;

static inline void prefetchAhead(const void* at) { __builtin_prefetch(static_cast<const char*>(at) + kAhead); }

/** Mask byte i of 64 bits. */
static inline unsigned eightAt(uint64_t kept, int i) { return static_cast<unsigned>(kept >> 8 * i & 255); }

/** countUpTo(), which gcc would turn into a popcount again: AArch64 has that on vectors only. */
static inline uint64_t countsOf(uint64_t kept) {
  uint64_t counts = countUpTo(kept);
  asm("" : "+r"(counts));
  return counts;
}

/** Kept ones before mask byte i, of countsOf(). */
static inline long before(uint64_t counts, int i) { return static_cast<long>(i ? counts >> 8 * (i - 1) & 255 : 0); }

/** Eight weights as f32. */
struct Eight {
  float32x4_t low;
  float32x4_t high;
};

// Converting f16 to f32 is part of every AArch64; only arithmetic on f16 is not, and sums are f32.
static inline Eight widenF16(uint16x8_t halves) {
  const float16x8_t half = vreinterpretq_f16_u16(halves);
  return {vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
}

static inline Eight widenBf16(uint16x8_t halves) {
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16)),
          vreinterpretq_f32_u32(vshll_high_n_u16(halves, 16))};
}

/** Packed 16-bit values in the places of 8 mask bits; 8 values can be read. */
static inline uint16x8_t expandHalves(const uint16_t* values, unsigned kept) {
  const uint8x16_t packed = vreinterpretq_u8_u16(vld1q_u16(values));
  return vreinterpretq_u16_u8(vqtbl1q_u8(packed, vld1q_u8(kWordShuffles.of[kept])));
}

/** Packed bytes in the places of 8 mask bits; 8 bytes can be read. */
static inline int8x8_t expandBytes(const int8_t* values, unsigned kept) {
  const int8x16_t packed = vcombine_s8(vld1_s8(values), vdup_n_s8(0));
  return vqtbl1_s8(packed, vld1_u8(kByteShuffles.of[kept]));
}

/** `count` elements from `first` on as bytes, at out[first & 1]. Writes up to 32 bytes more. */
static inline void unpackNibbles(const uint8_t* packed, long packedBytes, long first, long count, int8_t* out) {
  const long end = (first + count + 1) / 2;
  long at = first / 2;
  for (; at < end && at + 16 <= packedBytes; at += 16, out += 32) {
    const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(packed + at));
    prefetchAhead(packed + at);
    // Shifts of signed bytes bring the sign of a nibble along.
    vst2q_s8(out, (int8x16x2_t{{vshrq_n_s8(vshlq_n_s8(bytes, 4), 4), vshrq_n_s8(bytes, 4)}}));
  }
  for (; at < end; at++, out += 2) {
    out[0] = static_cast<int8_t>(nibbleAt(packed, 2 * at));
    out[1] = static_cast<int8_t>(nibbleAt(packed, 2 * at + 1));
  }
}

void halfRows(const RowsTask& task);
void integerRows(const RowsTask& task);
void integerRowsDot(const RowsTask& task);
void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections);
void decodeRow(const Stack& stack, long row, float* out, long padded, void* scratch);
float dot(DenseType type, const void* weights, const float* x, long count);
void axpy(DenseType type, float a, const void* weights, float* y, long count);
long countBits(const uint8_t* mask, long bytes);
bool allFinite(const uint16_t* numbers, long count, uint16_t exponent);

}  // namespace spexpand::neon
