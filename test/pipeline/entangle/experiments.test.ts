import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { ClustersExperiment, SubsetExperiment } from '../../../src/index.ts'
import { entangle, entangleFiles, evaluate } from '../../../src/index.ts'

const SMALL = { tokens: 1024, sequenceLength: 128, pairs: 100, windows: 4, layer: 0 } as const
const BOTH = { ...SMALL, experiments: ['clusters', 'subset'], sparsities: [0.6, 0.99] } as const

const folder = mkdtempSync(join(tmpdir(), 'spexpand-experiments-'))
afterAll(() => rmSync(folder, { recursive: true }))

let json: string
let clusters: ClustersExperiment
let subset: SubsetExperiment
beforeAll(async () => {
  const result = await entangleFiles({ ...BOTH, threads: 2, out: folder })
  json = result.json
  clusters = result.report.experiments!.clusters!
  subset = result.report.experiments!.subset!
}, 300_000)

describe('entangle() with experiments', () => {
  it('prunes rows in the dense model: its own perplexity beside them, more zeros more KL', async () => {
    const { windows, sequenceLength } = SMALL
    const dense = await evaluate({ model: demoModelFolder(), windows, sequenceLength, threads: 2 })
    expect(subset.targets).toBe(dense.targets)
    expect(Math.abs(subset.densePerplexity / dense.perplexity - 1)).toBeLessThan(1e-5)
    expect(subset.rows.map(({ choice }) => choice).slice(0, 5)).toEqual(['wd', 'mean', 'variance', 'weight', 'random'])
    for (const choice of ['wd', 'mean', 'variance', 'weight', 'random']) {
      const [few, many] = subset.rows.filter((row) => row.choice === choice)
      expect(few!.sparsity).toBe(0.6)
      expect(few!.kl).toBeGreaterThan(0)
      expect(many!.kl).toBeGreaterThan(few!.kl)
    }
  })

  it('gains by clusters what random groups of the same sizes do not give', () => {
    const median = (grouping: string): number => {
      const sorted = clusters.rows
        .filter((row) => row.experts === 8 && row.grouping === grouping && row.matrix !== 'down_proj')
        .map(({ ri }) => ri)
        .toSorted((a, b) => a - b)
      return sorted[sorted.length >> 1]!
    }
    expect(clusters.sparsity).toBe(0.6)
    expect(median('clusters')).toBeGreaterThan(median('random'))
  })

  it('gives the same for one thread as for two', async () => {
    const { experiments } = await entangle({ ...BOTH, threads: 1, sparsities: [0.6] })
    expect(experiments!.clusters).toEqual(clusters)
    expect(experiments!.subset!.rows).toEqual(subset.rows.filter(({ sparsity }) => sparsity === 0.6))
  }, 300_000)

  it('writes a JSON that follows the shipped schema, and tables', () => {
    const schema = new URL('../../../export/schema/entanglement.schema.json', import.meta.url)
    const validate = new Ajv2020().compile(JSON.parse(readFileSync(schema, 'utf8')) as object)
    validate(JSON.parse(json))
    expect(validate.errors).toBeNull()
    expect(readFileSync(join(folder, 'subset.csv'), 'utf8').split('\n').length).toBe(1 + 1 + 10 + 1)
    expect(readFileSync(join(folder, 'clusters.csv'), 'utf8').split('\n').length).toBe(1 + clusters.rows.length + 1)
  })

  it('refuses options that belong to no experiment, and layers and shares that are not there', async () => {
    await expect(entangle({ layer: 1 })).rejects.toThrow('--layer belongs to --experiment clusters')
    await expect(entangle({ windows: 4 })).rejects.toThrow('belong to --experiment subset')
    await expect(entangle({ experiments: ['clusters'], layer: 99 })).rejects.toThrow('--layer 99 is out of range')
    await expect(entangle({ experiments: ['subset'], sparsities: [1] })).rejects.toThrow('--sparsity 1 is out of range')
  })
})
