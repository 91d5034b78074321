import fc from 'fast-check'
import { expect, it } from 'vitest'
import { packExpert, packOnGrid, unpackExpert } from '../../src/mixture/expert.ts'
import { expertAt, stackExperts } from '../../src/mixture/stack.ts'
import { GROUP_SIZES, roundToGrid } from '../../src/prune/grid.ts'

/** One pruned matrix with weights that f16 holds exactly: small multiples of 1/64. */
const matrices = (outputs: number, inputs: number): fc.Arbitrary<{ W: Float32Array; mask: Uint8Array }> =>
  fc
    .array(fc.record({ kept: fc.boolean(), w: fc.integer({ min: -1000, max: 1000 }) }), {
      minLength: outputs * inputs,
      maxLength: outputs * inputs,
    })
    .map((cells) => {
      const mask = new Uint8Array(outputs * Math.ceil(inputs / 8))
      cells.forEach(({ kept }, at) => {
        const [i, j] = [Math.floor(at / inputs), at % inputs]
        if (kept) mask[i * Math.ceil(inputs / 8) + (j >> 3)]! |= 1 << (j & 7)
      })
      return { W: Float32Array.from(cells, ({ kept, w }) => (kept ? w / 64 : 0)), mask }
    })
const shapes = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 21 }))

it('unpackExpert() undoes packExpert() for weights that f16 holds', () => {
  fc.assert(
    fc.property(
      shapes.chain(([n, k]) => matrices(n, k).map((m) => ({ ...m, n, k }))),
      ({ W, mask, n, k }) => {
        const packed = packExpert(W, mask, n, k, 'test')
        expect(packed.underflows).toBe(0)
        expect(unpackExpert(packed, n, k)).toEqual(W)
        expect(unpackExpert(packed, n, k, new Float32Array(n * k).fill(9))).toEqual(W)
      },
    ),
  )
})

it('expertAt() takes every expert out of a stack as it went in', () => {
  fc.assert(
    fc.property(
      shapes.chain(([n, k]) =>
        fc.array(matrices(n, k), { minLength: 1, maxLength: 4 }).map((list) => ({ list, n, k })),
      ),
      ({ list, n, k }) => {
        const experts = list.map(({ W, mask }) => packExpert(W, mask, n, k, 'test'))
        const stack = stackExperts(experts)
        expect(stack.values[0]).toBe(0)
        experts.forEach((expert, e) => expect({ ...expertAt(stack, e, experts.length), underflows: 0 }).toEqual(expert))
      },
    ),
  )
})

it('unpackExpert() of packOnGrid() is the grid, and survives a stack, for every grid', () => {
  const grids = fc.record({ bits: fc.constantFrom(4 as const, 8 as const), groupSize: fc.constantFrom(...GROUP_SIZES) })
  fc.assert(
    fc.property(
      fc
        .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 70 }))
        .chain(([n, k]) => fc.array(matrices(n, k), { minLength: 1, maxLength: 3 }).map((list) => ({ list, n, k }))),
      grids,
      ({ list, n, k }, grid) => {
        const made = list.map(({ W, mask }) => {
          const { weights, scales } = roundToGrid(W, n, k, grid, 'test')
          return { weights, packed: packOnGrid(weights, mask, n, k, { grid, scales }) }
        })
        const stack = stackExperts(made.map(({ packed }) => packed))
        expect(stack.values[0]! & (grid.bits === 4 ? 15 : 255)).toBe(0)
        const kept = made.reduce((sum, { packed }) => sum + packed.values.length, 0)
        expect(stack.values.byteLength).toBe(grid.bits === 4 ? Math.ceil((1 + kept) / 2) : 1 + kept)
        made.forEach(({ weights, packed }, e) => {
          expect(unpackExpert(packed, n, k)).toEqual(weights.map((w) => w + 0))
          expect(expertAt(stack, e, made.length)).toEqual(packed)
        })
      },
    ),
  )
})

it('packExpert() as bf16 rounds to nearest even and refuses what it cannot hold', () => {
  const mask = Uint8Array.of(0b111)
  const packed = packExpert(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -1e-38), mask, 1, 3, 'x', 'bf16')
  expect([...unpackExpert(packed, 1, 3)].slice(0, 2)).toEqual([1, 1 + 2 ** -6])
  expect(packed).toMatchObject({ form: { type: 'bf16' }, underflows: 0 })
  expect(() => packExpert(Float32Array.of(3.4e38, 0, 0), mask, 1, 3, 'up', 'bf16')).toThrow(
    /up: 3\.39999.* does not fit bf16/,
  )
})

it('packExpert() refuses weights beyond f16 and counts those that vanish', () => {
  const mask = Uint8Array.of(0b11)
  expect(() => packExpert(Float32Array.of(1, 70000), mask, 1, 2, 'layer 3 up_proj')).toThrow(/layer 3 up_proj.*70000/)
  expect(() => packExpert(Float32Array.of(1, NaN), mask, 1, 2, 'x')).toThrow(/NaN/)
  expect(packExpert(Float32Array.of(1, 1e-9), mask, 1, 2, 'x').underflows).toBe(1)
})
