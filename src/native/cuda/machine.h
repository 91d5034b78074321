// What the kernels need of the machine beyond CUDA C++: asynchronous copies and tensor cores (compute capability 8.0).
// Fragments are laid out as PTX says for mma.m16n8k16 and mma.m16n8k8; g = lane / 4, t = lane % 4.
#pragma once

#include "cuda/device.h"

namespace spexpand {
namespace cuda {

#ifdef __CUDACC__

SPEXPAND_DEVICE uint32_t sharedAddress(const void* at) { return static_cast<uint32_t>(__cvta_generic_to_shared(at)); }

/** 16 bytes of shared memory: the first `bytes` from global memory, zeros behind. Both aligned to 16. */
SPEXPAND_DEVICE void copy16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(bytes)
               : "memory");
}
SPEXPAND_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** Until all of this thread's copies are done but those of the last kLeft commits. */
template <int kLeft>
SPEXPAND_DEVICE void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}
SPEXPAND_DEVICE void prefetch(const void* from) { asm volatile("prefetch.global.L2 [%0];" ::"l"(from)); }

/** Halves in shared memory: the first where bit 0 is set, the next one where bit 1 is set, and so on; else anything. */
SPEXPAND_DEVICE void loadKept(uint16_t (&out)[4], const uint16_t* from, uint32_t bits) {
  // As C++ it becomes one load after another, each of which is waited for.
  asm volatile(
      "{\n"
      ".reg .pred p0, p1, p2, p3;\n"
      ".reg .b32 at, bit;\n"
      "mov.b32 at, %4;\n"
      "and.b32 bit, %5, 1;\n"
      "setp.ne.b32 p0, bit, 0;\n"
      "and.b32 bit, %5, 2;\n"
      "setp.ne.b32 p1, bit, 0;\n"
      "and.b32 bit, %5, 4;\n"
      "setp.ne.b32 p2, bit, 0;\n"
      "and.b32 bit, %5, 8;\n"
      "setp.ne.b32 p3, bit, 0;\n"
      "@p0 ld.shared.u16 %0, [at];\n"
      "@p0 add.u32 at, at, 2;\n"
      "@p1 ld.shared.u16 %1, [at];\n"
      "@p1 add.u32 at, at, 2;\n"
      "@p2 ld.shared.u16 %2, [at];\n"
      "@p2 add.u32 at, at, 2;\n"
      "@p3 ld.shared.u16 %3, [at];\n"
      "}\n"
      : "=h"(out[0]), "=h"(out[1]), "=h"(out[2]), "=h"(out[3])
      : "r"(sharedAddress(from)), "r"(bits)
      : "memory");
}

/** Four 8 x 8 matrices of 16 bits: lane 8 m + r brings the address of row r of matrix m, and gets elements (g, 2 t). */
SPEXPAND_DEVICE void loadMatrices(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(sharedAddress(row))
               : "memory");
}

/** sums (16, 8) += a (16, 16) · b (16, 8), f16 with f32 sums. */
SPEXPAND_DEVICE void multiplyF16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** sums (16, 8) += a (16, 8) · b (8, 8), tf32 with f32 sums. */
SPEXPAND_DEVICE void multiplyTf32(float (&sums)[4], const float (&a)[4], float b0, float b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(bitsOf(a[0])), "r"(bitsOf(a[1])), "r"(bitsOf(a[2])), "r"(bitsOf(a[3])), "r"(bitsOf(b0)),
                 "r"(bitsOf(b1)));
}

/** To 11 significant bits. */
SPEXPAND_DEVICE float roundTf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return floatOf(bits);
}

/** Two integers of kWidth bits, in the low bytes of the halves of a word, as f16. */
template <int kWidth>
SPEXPAND_DEVICE uint32_t halvesOfIntegers(uint32_t pair) {
  // 0x6400 is 1024, whose lowest bit counts 1; the sign bit flipped, integers begin at 0.
  constexpr uint32_t kSign = 1u << (kWidth - 1);
  const uint32_t shifted = pair ^ (0x64006400u | kSign << 16 | kSign);
  const __half2 offset = __half2half2(__ushort_as_half(0x6400 | kSign));
  const __half2 both = __hsub2(*reinterpret_cast<const __half2*>(&shifted), offset);
  return *reinterpret_cast<const uint32_t*>(&both);
}

#else

SPEXPAND_DEVICE void loadKept(uint16_t (&out)[4], const uint16_t* from, uint32_t bits) {
  for (int j = 0; j < 4; j++) out[j] = bits >> j & 1 ? *from++ : uint16_t{0x7e00};
}

using shim::commitCopies;
using shim::copy16;
using shim::loadMatrices;
using shim::multiplyF16;
using shim::multiplyTf32;
using shim::prefetch;
using shim::roundTf32;
using shim::waitCopies;

template <int kWidth>
SPEXPAND_DEVICE uint32_t halvesOfIntegers(uint32_t pair) {
  constexpr int kSign = 1 << (kWidth - 1);
  const int low = (static_cast<int>(pair & 0xffff) ^ kSign) - kSign;
  const int high = (static_cast<int>(pair >> 16) ^ kSign) - kSign;
  return floatToF16(static_cast<float>(low)) | static_cast<uint32_t>(floatToF16(static_cast<float>(high))) << 16;
}

#endif

}  // namespace cuda
}  // namespace spexpand
