import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import { drawPairs, mappingDifficulty } from '../../../src/entangle/mapping.ts'
import { wassersteinToNormal } from '../../../src/entangle/wasserstein.ts'
import type { EntangleReport } from '../../../src/index.ts'
import { calibrate, entangle, entangleFiles, openModel } from '../../../src/index.ts'

const SMALL = { tokens: 8192, sequenceLength: 128, pairs: 500, seed: 3 } as const

const folder = mkdtempSync(join(tmpdir(), 'spexpand-entangle-'))
afterAll(() => rmSync(folder, { recursive: true }))

let report: EntangleReport
let json: string
beforeAll(async () => {
  const result = await entangleFiles({ ...SMALL, threads: 2, out: join(folder, 'report') })
  report = result.report
  json = result.json
}, 300_000)

/** FF inputs of one layer, (tokens, hidden). */
async function inputsOf(layer: number): Promise<{ X: Float32Array; rows: number; dim: number }> {
  let found: { X: Float32Array; rows: number; dim: number } | undefined
  await calibrate({
    ...SMALL,
    threads: 1,
    onBlock: ({ layer: at, rows, dim, read }) => {
      if (at === layer) found = { X: read(0, rows), rows, dim }
    },
  })
  return found!
}

/** One row of a matrix times all inputs, in float64. */
function outputsOf(w: Float32Array, X: Float32Array): Float32Array {
  return Float32Array.from({ length: X.length / w.length }, (_, t) =>
    w.reduce((sum, value, k) => sum + value * X[t * w.length + k]!, 0),
  )
}

describe('entangle()', () => {
  it('measures every neuron of gate, up and down of every layer', () => {
    const { layers, hidden, ff } = report.shape
    expect(report.matrices.map(({ layer, matrix, wd }) => [layer, matrix, wd.length])).toEqual(
      Array.from({ length: layers }, (_, layer) => [
        [layer, 'gate_proj', ff],
        [layer, 'up_proj', ff],
        [layer, 'down_proj', hidden],
      ]).flat(),
    )
    for (const { wd, wasserstein } of report.matrices) {
      expect(wd.every((value) => value > 0 && value < 1)).toBe(true)
      expect(wasserstein.length).toBe(Math.ceil(wd.length * 0.03))
      expect(wd[wasserstein[0]!]).toBe(Math.max(...wd))
    }
  })

  it('is within 1e-3 of the exact WD of outputs computed one by one, and equal in mean, variance and MD', async () => {
    const layer = 1
    const { X, rows, dim } = await inputsOf(layer)
    const model = openModel(demoModelFolder())
    const { first, second } = drawPairs(rows, SMALL.pairs, SMALL.seed + 1_000_003 * (layer + 1))
    const dx = Float64Array.from(first, (a, i) =>
      Math.hypot(...Array.from({ length: dim }, (_, k) => X[a * dim + k]! - X[second[i]! * dim + k]!)),
    )
    for (const role of ['gate', 'up'] as const) {
      const W = model.weights.readF32(model.tensorName(role, layer))
      const measured = report.matrices.find((m) => m.layer === layer && m.matrix === `${role}_proj`)!
      for (const neuron of [0, 17, 500, measured.wasserstein[0]!]) {
        const w = W.slice(neuron * dim, (neuron + 1) * dim)
        const y = outputsOf(w, X)
        const mean = y.reduce((sum, v) => sum + v, 0) / rows
        const variance = y.reduce((sum, v) => sum + (v - mean) ** 2, 0) / rows
        const dy = Float32Array.from(first, (a, i) => y[a]! - y[second[i]!]!)
        expect(Math.abs(measured.wd[neuron]! - wassersteinToNormal(y))).toBeLessThan(1e-3)
        // float32 products there, float64 here.
        expect(Math.abs(measured.mean[neuron]! - mean)).toBeLessThan(1e-5 * Math.sqrt(variance) + 1e-6)
        expect(Math.abs(measured.variance[neuron]! / variance - 1)).toBeLessThan(1e-4)
        expect(Math.abs(measured.md[neuron]! / mappingDifficulty(dy, dx)[0]! - 1)).toBeLessThan(1e-3)
        expect(Math.abs(measured.weight[neuron]! - w.reduce((sum, v) => sum + Math.abs(v), 0) / dim)).toBeLessThan(1e-6)
      }
    }
    model.close()
    expect(report.wdBound).toBeLessThan(1e-3)
  }, 120_000)

  it('gives the same report for one thread as for two, and for little memory', async () => {
    const again = await entangleFiles({ ...SMALL, threads: 1, memoryBytes: 1 })
    expect(again.json).toBe(json)
    expect(again.files).toEqual([])
  }, 300_000)

  it('refuses shares and pairs that cannot be meant', async () => {
    await expect(entangle({ top: 1 })).rejects.toThrow('--top 1 is out of range')
    await expect(entangle({ pairs: 0 })).rejects.toThrow('--pairs 0 is out of range')
  })
})

describe('entangleFiles()', () => {
  it('writes a JSON that follows the shipped schema', () => {
    const schema = JSON.parse(
      readFileSync(new URL('../../../export/schema/entanglement.schema.json', import.meta.url), 'utf8'),
    ) as object
    const written = readFileSync(join(folder, 'report/entanglement.json'), 'utf8')
    const validate = new Ajv2020().compile(schema)
    validate(JSON.parse(written))
    expect(validate.errors).toBeNull()
    expect(written).toBe(json)
  })

  it('writes a CSV with a line for every neuron', () => {
    const lines = readFileSync(join(folder, 'report/entanglement.csv'), 'utf8').trimEnd().split('\n')
    expect(lines[0]).toBe('layer,matrix,neuron,wd,md,mean,variance,kurtosis,weight,wasserstein')
    expect(lines.length).toBe(1 + report.shape.layers * (2 * report.shape.ff + report.shape.hidden))
  })

  it('writes a page without any reference outside itself', () => {
    const page = readFileSync(join(folder, 'report/report.html'), 'utf8')
    expect(page.match(/(?:src|href)="(?!#|data:)[^"]*"|url\((?!#)[^)]*\)|@import/g)).toBeNull()
    expect(existsSync(join(folder, 'report/report.html.partial'))).toBe(false)
  })

  it('refuses to write over a file, before it measures anything', async () => {
    writeFileSync(join(folder, 'file'), '')
    await expect(entangleFiles({ ...SMALL, out: join(folder, 'file') })).rejects.toThrow('it is a file')
  })
})
