// Widening of half-precision arrays.

/** out[i] = f32(bf16 in[i]); n elements, byte addresses. */
export function widenBf16(input: usize, out: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<u32>(out + (<usize>i << 2), <u32>load<u16>(input + (<usize>i << 1)) << 16)
}
