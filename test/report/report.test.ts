import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { parseHTML } from 'linkedom'
import { describe, expect, it } from 'vitest'
import { clustersCsv, csvOf, neuronsCsv, subsetCsv } from '../../src/report/csv.ts'
import { reportJson } from '../../src/report/json.ts'
import { reportPage } from '../../src/report/page.ts'
import { summarize } from '../../src/report/summary.ts'
import { shown } from '../../src/report/text.ts'
import { sampleExperiments } from './sample-experiments.ts'
import { sampleReport } from './sample.ts'

const SCHEMA = new URL('../../export/schema/entanglement.schema.json', import.meta.url)
const dense = sampleReport(false)
const mixture = sampleReport(true)
const tried = { ...dense, experiments: sampleExperiments() }

/** Findings when RI is 2 ± WD. */
function gain(sign: number): string {
  const matrices = mixture.matrices.map((m) => ({
    ...m,
    expansion: { ...m.expansion!, ri: m.wd.map((wd) => 2 + sign * wd) },
  }))
  return summarize({ ...mixture, matrices }).findings.join(' ')
}

describe('csvOf()', () => {
  it('quotes what must be quoted, keeps six digits and leaves out what is no number', () => {
    expect(
      csvOf(
        ['a', 'b'],
        [
          ['x,"y"', 1 / 3],
          ['z', NaN],
        ],
      ),
    ).toBe('a,b\n"x,""y""",0.333333\nz,\n')
  })
})

describe('neuronsCsv()', () => {
  it('has a line for every neuron and more columns for an artifact', () => {
    const [first, second] = [dense, mixture].map((report) => neuronsCsv(report).trimEnd().split('\n'))
    expect(first!.length).toBe(1 + 2 * 160)
    expect(first![0]!.split(',').length).toBe(10)
    expect(second![0]).toMatch(/,expertWd,expertMd,randomWd,ri,prunedWd,baselinePrunedWd,error,baselineError,sparsity$/)
    expect(new Set(second!.map((line) => line.split(',').length))).toEqual(new Set([19]))
  })
})

describe('clustersCsv() and subsetCsv()', () => {
  it('have a line for every row of the experiment, the dense model first', () => {
    const { clusters, subset } = tried.experiments
    const [head, first, ...others] = clustersCsv(clusters!).trimEnd().split('\n')
    expect(head).toBe('layer,experts,grouping,matrix,neuron,group,ri,expertWd,prunedWd')
    expect(first).toBe('1,1,clusters,gate_proj,3,wasserstein,1,0.4,0.1')
    expect(others.length).toBe(clusters!.rows.length - 1)
    expect(subsetCsv(subset!).split('\n').slice(0, 3)).toEqual([
      'choice,sparsity,perplexity,standardError,kl',
      'dense,0,20,1.5,0',
      'wd,0.5,20,1.5,0.005',
    ])
  })
})

describe('summarize() of experiments', () => {
  it('says which neurons hurt most, whatever the answer', () => {
    const { subset, ...rest } = tried.experiments
    const findings = summarize(tried).findings.join(' ')
    expect(findings).toContain('gate 2.00 (other neurons 1.40, random groups 1.00)')
    expect(findings).toContain('pruning entangled neurons hurts less than pruning those of random')
    const rows = subset!.rows.map((row) => ({ ...row, kl: row.choice === 'wd' ? 9 : row.kl }))
    const turned = { ...tried, experiments: { ...rest, subset: { ...subset!, rows } } }
    expect(summarize(turned).findings.join(' ')).toContain('entangled neurons are the ones that hurt when pruned')
  })
})

describe('reportJson()', () => {
  it.each([
    ['a model', dense],
    ['an artifact', mixture],
    ['a model with experiments', tried],
  ])('of %s follows the schema', (_, report) => {
    const validate = new Ajv2020().compile(JSON.parse(readFileSync(SCHEMA, 'utf8')) as object)
    validate(JSON.parse(reportJson(report)))
    expect(validate.errors).toBeNull()
  })

  it('writes null for what does not exist, and rounds to six digits', () => {
    const [first, ...others] = dense.matrices
    const odd = { ...dense, matrices: [{ ...first!, wd: [NaN, 1 / 3] }, ...others] }
    expect(reportJson(odd)).toContain('"wd":[null,0.333333]')
  })
})

describe('summarize()', () => {
  it('names the most entangled neuron', () => {
    const worst = dense.matrices.reduce((a, b) => (Math.max(...b.wd) > Math.max(...a.wd) ? b : a))
    const { findings } = summarize(dense)
    expect(findings.join(' ')).toContain(
      `neuron ${worst.wasserstein[0]} of ${worst.matrix.replace('_proj', '')} in layer ${worst.layer}, with a distance of ${shown(Math.max(...worst.wd))}`,
    )
  })

  it('says whether entangled neurons gain more, whatever the answer', () => {
    expect(gain(1)).toContain('Entangled neurons gain more')
    expect(gain(1)).toContain('R² 1.00')
    expect(gain(-1)).toContain('do not gain more')
  })

  it('warns of experts with fewer tokens than inputs', () => {
    const layers = mixture.mixture!.layers.map((layer) => ({ ...layer, tokensPerExpert: [4000, 50, 46] }))
    const few = { ...mixture, mixture: { ...mixture.mixture!, layers } }
    expect(summarize(few).advice.join(' ')).toContain('46 tokens, fewer than the 60 inputs of down')
    expect(summarize(mixture).advice.join(' ')).toContain('room for more experts')
  })
})

describe('reportPage()', () => {
  it.each([
    ['a model', dense, 4],
    ['an artifact', mixture, 11],
  ])('of %s has every figure with a caption and its data', (_, report, figures) => {
    const { document } = parseHTML(reportPage(report))
    const all = [...document.querySelectorAll('figure')]
    expect(all.length).toBe(figures)
    for (const figure of all) {
      expect(figure.querySelectorAll('svg[role=img][aria-label]').length).toBeGreaterThan(0)
      expect(figure.querySelector('figcaption')!.textContent!.length).toBeGreaterThan(60)
      expect(figure.querySelector('a.data')!.getAttribute('href')).toMatch(/^data:text\/csv/)
    }
    const ids = [...document.querySelectorAll('[id]')].map((element) => element.id)
    expect(new Set(ids).size).toBe(ids.length)
    for (const link of document.querySelectorAll('a[href^="#"]'))
      expect(ids).toContain(link.getAttribute('href')!.slice(1))
  })

  it('escapes names and notes, draws no NaN and asks for nothing from outside', () => {
    const page = reportPage(mixture)
    expect(page).toContain('<title>Entanglement of a&lt;b&gt;&amp;&quot;c&quot;</title>')
    expect(page).toContain('something &lt;odd&gt;')
    expect(page).not.toMatch(/="[^"]*NaN[^"]*"/)
    expect(page.match(/(?:src|href)="(?!#|data:)[^"]*"|@import|url\((?!#)/g)).toBeNull()
  })

  it('is the same for equal reports', () => {
    expect(reportPage(sampleReport(true))).toBe(reportPage(mixture))
  })
})
