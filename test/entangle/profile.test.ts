import { describe, expect, it } from 'vitest'
import { proposeProfile } from '../../src/entangle/profile.ts'
import type { EntangleReport } from '../../src/entangle/types.ts'
import { sampleReport } from '../report/sample.ts'

const OPTIONS = { experts: 16, sparsity: 0.7, spread: 0, maxExperts: 256 }

/** A report of so many layers whose medians of WD are given; of an artifact, those of RI and of the error too. */
function reportOf(wd: readonly number[], ri?: readonly number[], error?: readonly number[]): EntangleReport {
  const sample = sampleReport(ri !== undefined)
  const [like] = sample.matrices
  return {
    ...sample,
    shape: { ...sample.shape, layers: wd.length },
    matrices: wd.map((value, layer) => ({
      ...like!,
      layer,
      wd: [value, value, NaN],
      ...(ri ? { expansion: { ...like!.expansion!, ri: [ri[layer]!], error: [error![layer]!] } } : {}),
    })),
  }
}

const expertsOf = (report: EntangleReport, experts = 16): number[] =>
  proposeProfile(report, { ...OPTIONS, experts }).layers.map((layer) => layer.experts)

describe('proposeProfile()', () => {
  it('gives the most entangled quarter twice the experts and the least entangled half half as many', () => {
    expect(expertsOf(reportOf([1, 9, 3, 5, 8, 2, 4, 7]))).toEqual([8, 32, 8, 16, 32, 8, 8, 16])
  })

  it('keeps the number of experts of all layers, also where layers are not a multiple of four', () => {
    for (const layers of [1, 3, 4, 7, 30]) {
      const experts = expertsOf(reportOf(Array.from({ length: layers }, (_, layer) => (layer * 7) % 11)))
      expect(experts.reduce((sum, n) => sum + n, 0)).toBe(16 * layers)
    }
  })

  it('never asks for fewer than one or more than the largest number of experts', () => {
    expect(expertsOf(reportOf([1, 2, 3, 4]), 1)).toEqual([1, 1, 1, 2])
    expect(expertsOf(reportOf([1, 2, 3, 4]), 200)).toEqual([100, 100, 200, 256])
  })

  it('follows RI in a report of an artifact, and its error for zeros', () => {
    const report = reportOf([4, 3, 2, 1], [1, 2, 3, 4], [0.5, 0.1, 0.2, 0.3])
    const { layers, rule } = proposeProfile(report, { ...OPTIONS, spread: 0.05 })
    expect(layers.map(({ experts }) => experts)).toEqual([8, 8, 16, 32])
    expect(layers.map(({ sparsity }) => sparsity)).toEqual([0.65, 0.75, 0.7, 0.7])
    expect(rule).toContain('largest median RI')
    expect(rule).toContain('largest median error')
  })

  it('leaves sparsity out without a spread', () => {
    expect(proposeProfile(reportOf([1, 2, 3, 4]), OPTIONS).layers[0]).toEqual({ experts: 8 })
  })
})
