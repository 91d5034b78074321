import { describe, expect, it } from 'vitest'
import type { GriffinPageData } from '../../src/report/griffin-data.ts'
import { griffinPage } from '../../src/report/griffin-page.ts'

const quality = (perplexity: number): GriffinPageData['dense'] => ({
  targets: 10,
  perplexity,
  standardError: 1,
  nll: Math.log(perplexity),
  kl: 0.1,
  topOneAgreement: 0.5,
})
const sides = { dense: { medianMs: 10 }, gathered: { medianMs: 5 }, native: { medianMs: 4 } }
const data: GriffinPageData = {
  tool: { name: 'spexpand', version: '0.0.0' },
  source: { name: '<model> & co', sha256: 'abc' },
  model: { kind: 'dense' },
  scores: 'statistic',
  select: 'top-k',
  reference: 'dense',
  densities: [0.5, 0.25],
  text: { windows: 2, sequenceLength: 8, promptTokens: 4 },
  dense: quality(20),
  quality: [
    { scores: 'statistic', select: 'top-k', density: 0.5, quality: quality(30) },
    { scores: 'statistic', select: 'top-k', density: 0.25, quality: quality(60) },
    { scores: 'magnitude', select: 'top-k', density: 0.5, quality: quality(90) },
  ],
  copy: {
    passages: 2,
    passageTokens: 6,
    all: { accuracy: 0.9, nll: 0.5 },
    densities: [
      { density: 0.5, accuracy: 0.8, nll: 1 },
      { density: 0.25, accuracy: 0.3, nll: 3 },
    ],
  },
  flocking: [0, 1].map((layer) => ({
    layer,
    density: 0.5,
    betweenPrompts: 0.4,
    promptToContinuation: 0.6,
    chance: 0.33,
  })),
  flockingCurve: [0.5, 0.25].map((density) => ({
    density,
    betweenPrompts: 0.4,
    promptToContinuation: 0.6,
    chance: density / 2,
  })),
  heat: [
    {
      layer: 0,
      firstToken: 2,
      promptTokens: 4,
      neurons: [5, 1],
      rows: [
        [0.9, 0.01],
        [0.2, 0.4],
      ],
    },
  ],
  speed: [{ density: 0.5, ff: sides, model: sides }],
}

describe('griffinPage()', () => {
  it('tells quality, copying and speed in words, and draws every figure', () => {
    const html = griffinPage(data)
    expect(html).toContain('from 20.0 to 30.0')
    expect(html).toContain('90 % of the tokens are predicted with all neurons, 80 % with 50 %')
    expect(html).toContain('FF layers 2.00x')
    expect(html).toContain('native operator 2.50x')
    for (const id of ['quality', 'speed', 'flocking', 'jaccard', 'layers', 'method'])
      expect(html).toContain(`id="${id}"`)
    expect(html.match(/<svg/g)).toHaveLength(9)
  })

  it('is one file: escaped names, no reference outside, nothing undefined', () => {
    const html = griffinPage(data)
    expect(html).toContain('&lt;model&gt; &amp; co')
    expect(html).not.toMatch(/(src|href)="http|NaN|undefined/)
  })

  it('claims no speed for an artifact, and no copying where the model cannot', () => {
    const { speed: _, ...rest } = data
    const html = griffinPage({
      ...rest,
      model: { kind: 'artifact', experts: 16, router: 'shared' },
      copy: { ...data.copy, all: { accuracy: 0.02, nll: 8 } },
    })
    expect(html).toContain('no time is gained')
    expect(html).toContain('the task says nothing about it')
    expect(html).not.toContain('id="speed"')
  })
})
