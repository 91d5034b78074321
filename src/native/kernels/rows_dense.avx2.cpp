// Rows as f32, and rows that are stored dense, on AVX2.
#include <cstring>

#include "kernels/half.h"
#include "kernels/rows.avx2.h"

namespace spexpand::avx2 {

namespace {

/** Weights of the 8 mask bits `kept`; 8 values can be read. */
template <ValueType type>
inline __m256 expand(const uint8_t* values, unsigned kept) {
  if (type == ValueType::f16 || type == ValueType::bf16) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
    const auto* shuffle = reinterpret_cast<const __m128i*>(kShuffles.words[kept]);
    const __m128i halves = _mm_shuffle_epi8(packed, _mm_load_si128(shuffle));
    return type == ValueType::bf16 ? widenBf16(halves) : _mm256_cvtph_ps(halves);
  }
  const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  const auto* shuffle = reinterpret_cast<const __m128i*>(kShuffles.bytes[kept]);
  const __m128i bytes = _mm_shuffle_epi8(packed, _mm_loadu_si128(shuffle));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/** The scale of the group of input k. */
inline __m256 scaleAt(const Stack& stack, long row, long k) {
  // Groups have whole thirty-twos of inputs.
  const long group = stack.groupSize ? k / stack.groupSize : 0;
  return _mm256_set1_ps(_cvtsh_ss(stack.scales[row * stack.groups + group]));
}

template <ValueType type>
void decodeValues(const Stack& stack, long row, const uint8_t* values, float* out) {
  constexpr long bytes = type == ValueType::f16 || type == ValueType::bf16 ? 2 : 1;
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  __m256 scale = _mm256_setzero_ps();
  for (long b = 0; b < stack.maskBytes; b++) {
    if (bytes == 1 && (b & 3) == 0) scale = scaleAt(stack, row, b * 8);
    const __m256 weights = expand<type>(values, mask[b]);
    _mm256_storeu_ps(out + b * 8, bytes == 1 ? _mm256_mul_ps(weights, scale) : weights);
    values += __builtin_popcount(mask[b]) * bytes;
    if ((b & 7) == 0) prefetchAhead(values);
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
inline __m256 denseAt(const void* weights, long at) {
  if (type == DenseType::f32) return _mm256_loadu_ps(static_cast<const float*>(weights) + at);
  const auto* halves = reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(weights) + at);
  return type == DenseType::f16 ? _mm256_cvtph_ps(_mm_loadu_si128(halves)) : widenBf16(_mm_loadu_si128(halves));
}

template <DenseType type>
inline float denseOne(const void* weights, long at) {
  if (type == DenseType::f32) return static_cast<const float*>(weights)[at];
  const uint16_t half = static_cast<const uint16_t*>(weights)[at];
  return type == DenseType::f16 ? f16ToFloat(half) : bf16ToFloat(half);
}

template <DenseType type>
float dotOf(const void* weights, const float* x, long count) {
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  long i = 0;
  for (; i + 32 <= count; i += 32) {
    prefetchAhead(static_cast<const char*>(weights) + i * (type == DenseType::f32 ? 4 : 2));
    for (int part = 0; part < 4; part++)
      sums[part] = _mm256_fmadd_ps(denseAt<type>(weights, i + part * 8), _mm256_loadu_ps(x + i + part * 8), sums[part]);
  }
  for (; i + 8 <= count; i += 8) sums[0] = _mm256_fmadd_ps(denseAt<type>(weights, i), _mm256_loadu_ps(x + i), sums[0]);
  float sum = sumOf(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
  for (; i < count; i++) sum += denseOne<type>(weights, i) * x[i];
  return sum;
}

template <DenseType type>
void axpyOf(float a, const void* weights, float* y, long count) {
  const __m256 factor = _mm256_set1_ps(a);
  long i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, denseAt<type>(weights, i), _mm256_loadu_ps(y + i)));
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

}  // namespace spexpand::avx2
