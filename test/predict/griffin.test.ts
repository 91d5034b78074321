import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readSafetensors } from '../../src/formats/safetensors/reader.ts'
import { GriffinStatistic, keptNeurons, sharedScores } from '../../src/predict/griffin.ts'
import { countScores } from '../../src/predict/scores.ts'
import { topK, topKDescending } from '../../src/predict/top-k.ts'

/** test/golden/numeric/griffin: numpy in float64 (recipe: test/golden/make_goldens.py). */
const golden = readSafetensors(new URL('../golden/numeric/griffin.safetensors', import.meta.url).pathname).tensors
const bytes = (name: string): ArrayBuffer => Uint8Array.from(golden.get(name)!.bytes).buffer
const Z = new Float32Array(bytes('Z'))
const ff = golden.get('Z')!.shape[1]!
const indices = (name: string): number[] => [...new BigInt64Array(bytes(name))].map(Number)

function statisticOf(rows: Float32Array, neurons: number): GriffinStatistic {
  const statistic = new GriffinStatistic(neurons)
  statistic.add(rows)
  return statistic
}

/** The formula as the paper writes it. */
function naive(rows: Float32Array, neurons: number): number[] {
  const list = Array.from({ length: rows.length / neurons }, (_, t) => [
    ...rows.subarray(t * neurons, (t + 1) * neurons),
  ])
  const normed = list.map((z) => z.map((v) => v / (Math.hypot(...z) || 1)))
  return Array.from({ length: neurons }, (_, j) => Math.hypot(0, ...normed.map((z) => z[j]!)))
}

const matrix = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 7 })).chain(([neurons, tokens]) =>
  fc.record({
    neurons: fc.constant(neurons),
    rows: fc
      .array(fc.float({ min: -100, max: 100, noNaN: true }), {
        minLength: neurons * tokens,
        maxLength: neurons * tokens,
      })
      .map((list) => Float32Array.from(list)),
  }),
)

describe('GriffinStatistic', () => {
  it('equals numpy in float64, with a first token 200 times larger than the others', () => {
    const wanted = new Float64Array(bytes('statistic'))
    // Both in float64; only the order of additions differs.
    statisticOf(Z, ff)
      .scores()
      .forEach((s, j) => expect(Math.abs(s - wanted[j]!)).toBeLessThan(1e-12))
  })

  it.each([0.5, 0.3])('selects the golden neurons at density %d', (density) => {
    const k = keptNeurons(ff, density)
    const scores = statisticOf(Z, ff).scores()
    expect([...topKDescending(scores, k)]).toEqual(indices(`top_${density}_descending`))
    expect([...topK(scores, k)]).toEqual(indices(`top_${density}_ascending_index`))
  })

  it('has the number of tokens as its sum of squares', () => {
    const { squares, tokens } = statisticOf(Z, ff)
    expect(tokens).toBe(50)
    expect(squares.reduce((a, b) => a + b)).toBeCloseTo(50, 10)
  })

  it('equals the formula of the paper (naive twin)', () => {
    fc.assert(
      fc.property(matrix, ({ neurons, rows }) => {
        const wanted = naive(rows, neurons)
        statisticOf(rows, neurons)
          .scores()
          .forEach((s, j) => expect(s).toBeCloseTo(wanted[j]!, 6))
      }),
    )
  })

  it('does not depend on how a prompt is cut into chunks, nor on the scale of a token', () => {
    const chunked = new GriffinStatistic(ff)
    chunked.add(Z.subarray(0, 7 * ff))
    chunked.addSquares(statisticOf(Z.subarray(7 * ff, 8 * ff), ff).squares, 1)
    chunked.add(Z.subarray(8 * ff).map((z) => 4 * z))
    expect(chunked.tokens).toBe(50)
    const whole = statisticOf(Z, ff).scores()
    chunked.scores().forEach((s, j) => expect(Math.abs(s - whole[j]!)).toBeLessThan(1e-12))
  })

  it('gets nothing from a token without activations', () => {
    const statistic = statisticOf(Float32Array.of(0, 0, 3, 4), 2)
    expect([...statistic.scores()]).toEqual([0.6, 0.8])
  })

  it('counts the quarter of the neurons that each token uses most, in chunks as in one', () => {
    const rows = Float32Array.of(1, -9, 2, 0, 0, 3, -1, 2, 0, 7, 0, 1, 1, 0, 8, 0)
    const [whole, cut] = [new GriffinStatistic(8), new GriffinStatistic(8)]
    whole.count(rows)
    cut.count(rows.subarray(0, 8))
    cut.addCounts(countScores(rows.subarray(8), 8, 2))
    expect([...whole.counts]).toEqual([0, 2, 0, 0, 0, 1, 1, 0])
    expect(cut.counts).toEqual(whole.counts)
    expect(() => whole.addCounts(new Float32Array(4))).toThrow('8 neurons')
  })

  it('refuses rows that are not whole and squares of other neurons', () => {
    expect(() => new GriffinStatistic(3).add(new Float32Array(4))).toThrow('wanted whole rows')
    expect(() => new GriffinStatistic(3).addSquares(new Float64Array(4), 1)).toThrow('3 neurons')
  })
})

describe('sharedScores()', () => {
  it('counts sequences the same, whatever their length', () => {
    const short = statisticOf(Float32Array.of(1, 0), 2)
    const long = statisticOf(Float32Array.of(0, 1, 0, 1, 0, 1, 0, 1), 2)
    expect([...sharedScores([short, long])]).toEqual([1, 1])
  })

  it('is the statistic of a single sequence up to a factor, and leaves out empty ones', () => {
    const one = statisticOf(Z, ff)
    const scores = one.scores()
    sharedScores([one, new GriffinStatistic(ff)]).forEach((s, j) =>
      expect(s * Math.sqrt(50)).toBeCloseTo(scores[j]!, 10),
    )
  })

  it('refuses nothing and statistics that do not match', () => {
    expect(() => sharedScores([])).toThrow('at least one')
    expect(() => sharedScores([new GriffinStatistic(2), new GriffinStatistic(3)])).toThrow('2 and 3 neurons')
  })
})

describe('keptNeurons()', () => {
  it('rounds down, but not for the last bit of a product, and keeps at least one', () => {
    expect(keptNeurons(100, 0.29)).toBe(29)
    expect([keptNeurons(768, 0.5), keptNeurons(768, 1), keptNeurons(10, 0.01)]).toEqual([384, 768, 1])
  })
})
