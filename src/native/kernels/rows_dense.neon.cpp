// Rows as f32, and rows that are stored dense, on NEON.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rows.neon.h"

namespace spexpand::neon {

namespace {

/** Weights of the 8 mask bits `kept`; 8 values can be read. */
template <ValueType type>
inline Eight expand(const uint8_t* values, unsigned kept) {
  if (type == ValueType::f16 || type == ValueType::bf16) {
    const uint16x8_t halves = expandHalves(reinterpret_cast<const uint16_t*>(values), kept);
    return type == ValueType::bf16 ? widenBf16(halves) : widenF16(halves);
  }
  const int16x8_t words = vmovl_s8(expandBytes(reinterpret_cast<const int8_t*>(values), kept));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
}

/** The scale of the group of input k. */
inline float scaleAt(const Stack& stack, long row, long k) {
  // Groups have whole thirty-twos of inputs.
  const long group = stack.groupSize ? k / stack.groupSize : 0;
  return f16ToFloat(stack.scales[row * stack.groups + group]);
}

template <ValueType type>
void decodeValues(const Stack& stack, long row, const uint8_t* values, float* out) {
  constexpr long bytes = type == ValueType::f16 || type == ValueType::bf16 ? 2 : 1;
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  float scale = 1;
  for (long b = 0; b < stack.maskBytes; b += 8) {
    const uint64_t kept = maskWord(mask, stack.maskBytes, b);
    const uint64_t counts = countsOf(kept);
    for (int i = 0; i < 8 && b + i < stack.maskBytes; i++) {
      if (bytes == 1 && (i & 3) == 0) scale = scaleAt(stack, row, (b + i) * 8);
      const Eight weights = expand<type>(values + before(counts, i) * bytes, eightAt(kept, i));
      float* to = out + (b + i) * 8;
      vst1q_f32(to, bytes == 1 ? vmulq_n_f32(weights.low, scale) : weights.low);
      vst1q_f32(to + 4, bytes == 1 ? vmulq_n_f32(weights.high, scale) : weights.high);
    }
    values += static_cast<long>(counts >> 56) * bytes;
    prefetchAhead(values);
  }
}

}  // namespace

void decodeRow(const Stack& stack, long row, float* out, long padded, void* scratch) {
  const long begin = stack.rowBegin(row);
  const long end = stack.rowEnd(row);
  const long bytes = stack.type == ValueType::f16 || stack.type == ValueType::bf16 ? 2 : 1;
  const auto* values = static_cast<const uint8_t*>(stack.values) + begin * bytes;
  if (stack.type == ValueType::int4) {
    auto* unpacked = static_cast<int8_t*>(scratch);
    unpackNibbles(static_cast<const uint8_t*>(stack.values), (stack.valueCount + 1) / 2, begin, end - begin, unpacked);
    values = reinterpret_cast<const uint8_t*>(unpacked + (begin & 1));
  } else if (end + 8 > stack.valueCount) {
    // 8 values are read wherever the row ends: the last rows of the tensor are copied to where that is allowed.
    std::memcpy(scratch, values, static_cast<size_t>((end - begin) * bytes));
    values = static_cast<const uint8_t*>(scratch);
  }
  switch (stack.type) {
    case ValueType::f16: decodeValues<ValueType::f16>(stack, row, values, out); break;
    case ValueType::bf16: decodeValues<ValueType::bf16>(stack, row, values, out); break;
    case ValueType::int8:
    case ValueType::int4: decodeValues<ValueType::int8>(stack, row, values, out); break;
  }
  for (long k = stack.maskBytes * 8; k < padded; k++) out[k] = 0;
}

namespace {

template <DenseType type>
inline Eight denseAt(const void* weights, long at) {
  if (type == DenseType::f32) {
    const float* from = static_cast<const float*>(weights) + at;
    return {vld1q_f32(from), vld1q_f32(from + 4)};
  }
  const uint16x8_t halves = vld1q_u16(static_cast<const uint16_t*>(weights) + at);
  return type == DenseType::f16 ? widenF16(halves) : widenBf16(halves);
}

template <DenseType type>
inline float denseOne(const void* weights, long at) {
  if (type == DenseType::f32) return static_cast<const float*>(weights)[at];
  const uint16_t half = static_cast<const uint16_t*>(weights)[at];
  return type == DenseType::f16 ? f16ToFloat(half) : bf16ToFloat(half);
}

template <DenseType type>
float dotOf(const void* weights, const float* x, long count) {
  float32x4_t sums[8];
  for (auto& sum : sums) sum = vdupq_n_f32(0);
  const auto add = [&](long at, int sum) {
    const Eight eight = denseAt<type>(weights, at);
    sums[sum] = vfmaq_f32(sums[sum], eight.low, vld1q_f32(x + at));
    sums[sum + 1] = vfmaq_f32(sums[sum + 1], eight.high, vld1q_f32(x + at + 4));
  };
  long i = 0;
  for (; i + 32 <= count; i += 32) {
    prefetchAhead(static_cast<const char*>(weights) + i * (type == DenseType::f32 ? 4 : 2));
    for (int part = 0; part < 4; part++) add(i + part * 8, part * 2);
  }
  for (; i + 8 <= count; i += 8) add(i, 0);
  for (int width = 4; width > 0; width /= 2)
    for (int part = 0; part < width; part++) sums[part] = vaddq_f32(sums[part], sums[part + width]);
  float sum = vaddvq_f32(sums[0]);
  for (; i < count; i++) sum += denseOne<type>(weights, i) * x[i];
  return sum;
}

template <DenseType type>
void axpyOf(float a, const void* weights, float* y, long count) {
  long i = 0;
  for (; i + 8 <= count; i += 8) {
    const Eight eight = denseAt<type>(weights, i);
    vst1q_f32(y + i, vfmaq_n_f32(vld1q_f32(y + i), eight.low, a));
    vst1q_f32(y + i + 4, vfmaq_n_f32(vld1q_f32(y + i + 4), eight.high, a));
  }
  for (; i < count; i++) y[i] += a * denseOne<type>(weights, i);
}

}  // namespace

float dot(DenseType type, const void* weights, const float* x, long count) {
  switch (type) {
    case DenseType::f32: return dotOf<DenseType::f32>(weights, x, count);
    case DenseType::f16: return dotOf<DenseType::f16>(weights, x, count);
    case DenseType::bf16: return dotOf<DenseType::bf16>(weights, x, count);
  }
  return 0;
}

void axpy(DenseType type, float a, const void* weights, float* y, long count) {
  switch (type) {
    case DenseType::f32: return axpyOf<DenseType::f32>(a, weights, y, count);
    case DenseType::f16: return axpyOf<DenseType::f16>(a, weights, y, count);
    case DenseType::bf16: return axpyOf<DenseType::bf16>(a, weights, y, count);
  }
}

}  // namespace spexpand::neon
