// The shim's tensor cores and asynchronous copies, after PTX's figures for ldmatrix, mma.m16n8k16 and mma.m16n8k8.
#include <cstdio>

#include "kernels/half.h"
#include "shim.h"

namespace shim {

namespace {

int laneNow() { return static_cast<int>(place.thread.x) % 32; }

void demandAligned(const void* at, const char* what) {
  if (reinterpret_cast<uintptr_t>(at) % 16 == 0) return;
  std::fprintf(stderr, "CUDA shim: %s is not aligned to 16 bytes\n", what);
  std::exit(3);
}

float halfOf(uint32_t word, int which) { return spexpand::f16ToFloat(static_cast<uint16_t>(word >> 16 * which)); }

/** What tf32 keeps: the machine reads no more. */
float cut(uint32_t bits) { return spexpand::bitsToFloat(bits & 0xffffe000u); }

}  // namespace

void copy16(void* to, const void* from, int bytes) {
  demandAligned(to, "the target of a copy");
  demandAligned(from, "the source of a copy");
  std::memcpy(to, from, static_cast<size_t>(bytes));
  std::memset(static_cast<uint8_t*>(to) + bytes, 0, static_cast<size_t>(16 - bytes));
}

void loadMatrices(uint32_t (&out)[4], const void* row) {
  demandAligned(row, "a row of a matrix");
  uint32_t words[2];
  std::memcpy(words, &row, sizeof row);
  bring(words, 2);
  for (int m = 0; m < 4; m++) {
    const uint8_t* from;
    std::memcpy(&from, wordsOf(8 * m + laneNow() / 4), sizeof from);
    std::memcpy(&out[m], from + laneNow() % 4 * 4, 4);
  }
  // Until all have read: shared memory may change behind this.
  ballot(false);
}

void multiplyF16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  bring(mine, 6);
  for (int c = 0; c < 4; c++) {
    const int g = laneNow() / 4;
    const int n = laneNow() % 4 * 2 + c % 2;
    for (int k = 0; k < 16; k++) {
      const int pair = k % 8 / 2;
      const float w = halfOf(wordsOf(g * 4 + pair)[c / 2 + (k < 8 ? 0 : 2)], k % 2);
      sums[c] += w * halfOf(wordsOf(n * 4 + pair)[k < 8 ? 4 : 5], k % 2);
    }
  }
}

void multiplyTf32(float (&sums)[4], const float (&a)[4], float b0, float b1) {
  const float numbers[6] = {a[0], a[1], a[2], a[3], b0, b1};
  uint32_t mine[6];
  std::memcpy(mine, numbers, sizeof mine);
  bring(mine, 6);
  for (int c = 0; c < 4; c++) {
    const int g = laneNow() / 4;
    const int n = laneNow() % 4 * 2 + c % 2;
    for (int k = 0; k < 8; k++)
      sums[c] += cut(wordsOf(g * 4 + k % 4)[c / 2 + (k < 4 ? 0 : 2)]) * cut(wordsOf(n * 4 + k % 4)[k < 4 ? 4 : 5]);
  }
}

float roundTf32(float value) {
  const uint32_t bits = spexpand::floatToBits(value);
  // Infinity and NaN stay; halves away from zero.
  return (bits & 0x7f800000u) == 0x7f800000u ? value : spexpand::bitsToFloat((bits + 0x1000u) & 0xffffe000u);
}

}  // namespace shim
