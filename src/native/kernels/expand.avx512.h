// Kept values into their places on AVX-512, and packed nibbles into bytes.
#pragma once

#include "kernels/rows.avx512.h"

namespace spexpand::avx512 {

/** The 32 values for mask bits `kept`, in place. Near the end of the tensor only those that are there are read. */
template <bool isLast>
static inline __m512i expandWords(const uint16_t* values, uint32_t kept) {
  __m512i packed = isLast ? _mm512_maskz_loadu_epi16(lowBits32(__builtin_popcount(kept)), values)
                          : _mm512_loadu_si512(values);
  // The memory form of vpexpandw is several times slower than a load and the register form: keep them apart.
  asm("" : "+v"(packed));
  return _mm512_maskz_expand_epi16(kept, packed);
}

/** Halves i and 16 + i side by side: what panels on tiles want. */
static inline __m512i pairHalves(__m512i halves) {
  const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(pairs, halves);
}

/** Where 64 values come from. */
enum class Source {
  bytes,     // the tensor, int8
  lastBytes, // its end: only values that are there are read
  nibbles,   // what unpackNibbles made of int4
};

/** 64 weights and their offset; pruned ones are the offset alone. */
template <Source source>
static inline __m512i expandBytes(const int8_t* values, uint64_t kept) {
  __m512i packed = source == Source::lastBytes
                       ? _mm512_maskz_loadu_epi8(lowBits64(__builtin_popcountll(kept)), values)
                       : _mm512_loadu_si512(values);
  asm("" : "+v"(packed));  // not into the slow memory form of vpexpandb
  const __m512i weights = _mm512_maskz_expand_epi8(kept, packed);
  if (source != Source::nibbles) return _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
  // (weights & 15) ^ 8: adding 8 to a nibble in two's complement turns its top bit.
  return _mm512_ternarylogic_epi32(weights, _mm512_set1_epi8(15), _mm512_set1_epi8(8), 0x6a);
}

/**
 * `count` elements from `first` on into the lower halves of bytes, at out[first & 1]; the upper halves mean nothing.
 * Writes up to 128 bytes more. With `asks` memory is asked for ahead; without, by whoever reads `out`, more evenly.
 */
template <bool asks = true>
static inline void unpackNibbles(const uint8_t* packed, long packedBytes, long first, long count, int8_t* out) {
  const auto unpack = [&](__m256i bytes, int8_t* to) {
    const __m512i words = _mm512_cvtepu8_epi16(bytes);
    _mm512_storeu_si512(to, _mm512_or_si512(words, _mm512_slli_epi16(words, 4)));
  };
  const long end = (first + count + 1) / 2;
  const long whole = end < packedBytes - 31 ? end : packedBytes - 31;  // 32 can be read before that
  long at = first / 2;
  for (; at < whole; at += 32, out += 64) {
    if (asks) prefetchAhead(packed + at);
    unpack(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + at)), out);
  }
  if (at < end) unpack(_mm256_maskz_loadu_epi8(static_cast<__mmask32>(lowBits64(packedBytes - at)), packed + at), out);
}

}  // namespace spexpand::avx512
