import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { EntangleReport, MatrixStats } from '../../../src/index.ts'
import { compress, entangle } from '../../../src/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'spexpand-expansion-'))
const at = (name: string): string => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true }))

let report: EntangleReport
let stats: MatrixStats[]
beforeAll(async () => {
  const options = { tokens: 2048, sequenceLength: 128, threads: 2 } as const
  await compress({ ...options, out: at('mixture'), experts: 2 })
  report = await entangle({ model: at('mixture'), threads: 2, pairs: 128 })
  const manifest = JSON.parse(readFileSync(at('mixture/spexpand.json'), 'utf8')) as {
    blocks: { matrices: MatrixStats[] }[]
  }
  stats = manifest.blocks.flatMap(({ matrices }) => matrices)
}, 600_000)

/** Root mean square of columns of errors relative to dense outputs, weighted by those outputs: the error of a matrix. */
function matrixError(relative: readonly number[], mean: readonly number[], variance: readonly number[]): number {
  let [error, dense] = [0, 0]
  relative.forEach((value, i) => {
    const square = mean[i]! ** 2 + variance[i]!
    error += value ** 2 * square
    dense += square
  })
  return Math.sqrt(error / dense)
}

describe('entangle() of an artifact', () => {
  it('measures on the tokens of the calibration by default', () => {
    expect(report.kind).toBe('artifact')
    expect(report.options).toMatchObject({ tokens: 2048, sequenceLength: 128, seed: 0 })
    expect(report.notes.filter((note) => note.includes('on equal terms'))).toEqual([])
  })

  it('finds the errors of mixture and baseline that compress found from H, another way', () => {
    report.matrices.forEach(({ mean, variance, expansion }, i) => {
      const { error, baselineError, sparsity } = stats[i]!
      // compress measures before weights are rounded to f16, here the stored ones run.
      expect(Math.abs(matrixError(expansion!.error, mean, variance) / error - 1)).toBeLessThan(0.01)
      expect(Math.abs(matrixError(expansion!.baselineError, mean, variance) / baselineError - 1)).toBeLessThan(0.01)
      const zeros = expansion!.sparsity.reduce((sum, value) => sum + value, 0) / mean.length
      expect(Math.abs(zeros - sparsity)).toBeLessThan(1e-9)
    })
  })

  it('has the ratio of these errors as RI', () => {
    for (const { expansion } of report.matrices)
      expansion!.ri.forEach((ri, i) =>
        expect(Math.abs((ri * expansion!.error[i]!) / expansion!.baselineError[i]! - 1)).toBeLessThan(1e-9),
      )
  })

  it('counts the tokens of every expert, also by domain, as compress did', () => {
    report.mixture!.layers.forEach(({ tokensPerExpert, usage, margin }, layer) => {
      const wanted = stats[3 * layer]!.experts.map(({ tokens }) => tokens)
      expect(tokensPerExpert).toEqual(wanted)
      expect(wanted.map((_, e) => usage.reduce((sum, row) => sum + row[e]!, 0))).toEqual(wanted)
      expect(margin[0]).toBeGreaterThanOrEqual(0)
      expect(margin[2]).toBeGreaterThan(margin[1])
    })
  })

  it('leaves WD almost as it is in random groups', () => {
    for (const { wd, expansion } of report.matrices) {
      const change = wd.map((value, i) => Math.abs(expansion!.randomWd[i]! - value))
      // Half of 2048 tokens: sampling noise of W₁ is about 1 / √1024.
      expect(change.toSorted((a, b) => a - b)[wd.length >> 1]!).toBeLessThan(0.03)
    }
  })

  it('has the RI and WD by expert that an experiment of as many clusters finds, another way', async () => {
    const { experiments } = await entangle({
      tokens: 2048,
      sequenceLength: 128,
      threads: 2,
      pairs: 128,
      experiments: ['clusters'],
      layer: 0,
    })
    const rows = experiments!.clusters!.rows.filter(({ grouping }) => grouping === 'clusters')
    expect(new Set(rows.map(({ experts }) => experts))).toEqual(new Set([1, 2, 4, 8, 16]))
    for (const { experts, matrix, neuron, ri, expertWd, prunedWd } of rows) {
      const { wd, expansion } = report.matrices.find((m) => m.layer === 0 && m.matrix === matrix)!
      if (experts === 1) {
        expect(ri).toBe(1)
        expect(Math.abs(expertWd - wd[neuron]!)).toBeLessThan(1e-3)
      }
      if (experts !== 2) continue
      // Streamed there, exact here; f16 values in both.
      expect(Math.abs(ri / expansion!.ri[neuron]! - 1)).toBeLessThan(2e-3)
      expect(Math.abs(expertWd - expansion!.expertWd[neuron]!)).toBeLessThan(2e-3)
      expect(Math.abs(prunedWd - expansion!.prunedWd[neuron]!)).toBeLessThan(2e-3)
    }
  }, 600_000)

  it('measures down by its own experts where the router is split, on the hidden states of that artifact', async () => {
    await compress({ tokens: 1024, sequenceLength: 128, threads: 2, out: at('split'), experts: 2, router: 'split' })
    const own = await entangle({ model: at('split'), threads: 2, pairs: 64 })
    const manifest = JSON.parse(readFileSync(at('split/spexpand.json'), 'utf8')) as {
      blocks: { tokensPerExpert: number[]; tokensPerDownExpert: number[]; matrices: MatrixStats[] }[]
    }
    manifest.blocks.forEach(({ tokensPerExpert, tokensPerDownExpert, matrices }, layer) => {
      expect(own.mixture!.layers[layer]).toMatchObject({ tokensPerExpert, tokensPerDownExpert })
      matrices.forEach(({ matrix, error }) => {
        const measured = own.matrices.find((m) => m.layer === layer && m.matrix === matrix)!
        const { mean, variance, expansion } = measured
        expect(Math.abs(matrixError(expansion!.error, mean, variance) / error - 1)).toBeLessThan(0.01)
      })
    })
  }, 600_000)

  it('refuses a dense model that is not the source, and a baseline of several experts', async () => {
    await expect(entangle({ model: at('mixture'), baseline: at('mixture') })).rejects.toThrow('it has 2 experts')
    await expect(entangle({ baseline: at('mixture') })).rejects.toThrow('belong to an artifact')
  })
})
