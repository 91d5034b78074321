import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import { fromBf16, fromF16, toBf16, toF16 } from '../../src/tensor/half.ts'

const golden = openSafetensors('test/golden/numeric/half.safetensors')
const f32 = golden.readF32('f32')
const u16 = (name: string): Uint16Array => new Uint16Array(golden.readBytes(name).buffer)
const bitsOf = (x: Float32Array): Uint32Array => new Uint32Array(x.buffer, x.byteOffset, x.length)

/** Rounds to nearest even by comparing the neighbours of a 16-bit float, found by bisection over its bit patterns. */
function nearest(x: number, widen: (h: number) => number, inf: number): number {
  const sign = Object.is(x, -0) || x < 0 ? 0x8000 : 0
  const a = Math.abs(x)
  if (a >= widen(inf)) return sign | inf
  let low = 0
  let high = inf - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (widen(middle) <= a) low = middle
    else high = middle - 1
  }
  const below = a - widen(low)
  const above = widen(low + 1) - a
  return sign | (above < below || (above === below && low % 2 === 1) ? low + 1 : low)
}

describe('half precision', () => {
  it.each([
    ['toF16', toF16, 'f16_bits', 0x7c00],
    ['toBf16', toBf16, 'bf16_bits', 0x7f80],
  ] as const)('%s() rounds as the golden file says, NaN staying NaN', (_, narrow, name, inf) => {
    const got = narrow(f32)
    const wanted = u16(name)
    for (let i = 0; i < f32.length; i++)
      if (Number.isNaN(f32[i])) expect(got[i]! & 0x7fff, `value ${i}`).toBeGreaterThan(inf)
      else expect(got[i], `value ${i}: ${f32[i]}`).toBe(wanted[i])
  })

  it.each([
    ['fromF16', fromF16, 'f16'],
    ['fromBf16', fromBf16, 'bf16'],
  ] as const)('%s() widens to exactly the golden bits', (_, widen, name) => {
    const got = bitsOf(widen(u16(`${name}_bits`)))
    const wanted = bitsOf(golden.readF32(`${name}_as_f32`))
    for (let i = 0; i < got.length; i++)
      if (!Number.isNaN(f32[i])) expect(got[i], `value ${i}: ${f32[i]}`).toBe(wanted[i])
  })

  it.each([
    ['toF16', toF16, fromF16, 0x7c00],
    ['toBf16', toBf16, fromBf16, 0x7f80],
  ] as const)('%s() undoes the widening of all 65536 bit patterns but NaN', (_, narrow, widen, inf) => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i)
    const back = narrow(widen(all))
    for (let h = 0; h < 65536; h++)
      if ((h & 0x7fff) > inf) expect(back[h]! & 0x7fff).toBeGreaterThan(inf)
      else expect(back[h]).toBe(h)
  })

  it.each([
    ['toF16', toF16, fromF16, 0x7c00, 2 ** 16],
    ['toBf16', toBf16, fromBf16, 0x7f80, 2 ** 128],
  ] as const)('%s() takes the nearest value, the even one of two', (_, narrow, widen, inf, afterLargest) => {
    // The number that the pattern of infinity would be if it were one more step.
    const widenOne = (h: number): number => (h === inf ? afterLargest : widen(Uint16Array.of(h))[0]!)
    const finite = fc.float({ noNaN: true, noDefaultInfinity: true })
    fc.assert(
      fc.property(finite, fc.integer({ min: -30, max: 20 }), (mantissa, exponent) => {
        for (const x of [mantissa, Math.fround(Math.sin(mantissa) * 2 ** exponent)])
          expect(narrow(Float32Array.of(x))[0]).toBe(nearest(x, widenOne, inf))
      }),
      { numRuns: 500 },
    )
  })

  it('toF16() and the others refuse an output of another length', () => {
    expect(() => toF16(new Float32Array(3), new Uint16Array(2))).toThrow(RangeError)
    expect(() => toBf16(new Float32Array(3), new Uint16Array(2))).toThrow(RangeError)
    expect(() => fromF16(new Uint16Array(3), new Float32Array(4))).toThrow(RangeError)
    expect(() => fromBf16(new Uint16Array(3), new Float32Array(4))).toThrow(RangeError)
  })

  it('fromF16() writes into a view that begins inside a buffer', () => {
    const out = new Float32Array(4)
    fromF16(Uint16Array.of(0x3c00, 0xc000), out.subarray(1, 3))
    expect([...out]).toEqual([0, 1, -2, 0])
  })
})
