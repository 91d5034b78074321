import { describe, expect, it } from 'vitest'
import { compressReport } from '../../bin/report/compress.ts'
import { evaluateReport } from '../../bin/report/evaluate.ts'
import { outline } from '../../bin/report/outline.ts'
import { planReport } from '../../bin/report/plan.ts'
import { compressResult, evaluateResult, planResult } from './results.ts'

function linesOf(text: string): string[] {
  return text.split('\n').map((line) => line.replace(/ {2,}/g, '  ').trim())
}

describe('compressReport()', () => {
  const text = compressReport(compressResult, {}, evaluateResult, undefined)
  const lines = linesOf(text)

  it('gives tokens per expert as min, median, max and every error beside that of one expert', () => {
    expect(lines).toContain(
      'block  tokens: min  median  max  gate  (1 expert)  up  (1 expert)  down  (1 expert)  zeros',
    )
    expect(lines).toContain('1  12  500  14,000  0.300  (0.400)  0.310  (0.410)  0.400  (0.500)  70.0 %')
  })

  it('says plainly that experts are bigger on disk and that stock onnxruntime is no faster', () => {
    expect(lines).toContain('stored on disk  1.00 MB  1.45 MB  1.45x')
    expect(lines).toContain('read per token  1.00 MB  363 kB  0.363x')
    expect(text).toContain('Bigger on disk: 4 experts are stored')
    expect(text).toMatch(/Stock onnxruntime gains no speed from these zeros: the stream body .* slower than dense/)
    const folded = compressReport(compressResult, { stockBody: 'fold' }, evaluateResult, undefined)
    expect(folded).toContain('the fold body')
  })

  it('does not claim growth where there is none', () => {
    const small = compressReport({ ...compressResult, ffBytesStored: 400_000 }, {}, undefined, 'x')
    expect(small).toContain('Smaller on disk')
    expect(small).not.toContain('Bigger on disk')
  })

  it('names every fallback, the resumed blocks and the stages', () => {
    expect(text).toContain(
      'Fallbacks (1):\n  layer 1 gate_proj expert 0: damping 0.1, because pivot 3 was negative at 0.01',
    )
    expect(lines[0]).toBe(
      'Wrote demo-spexpand: 2 blocks, 1 of them from an earlier run, 70.0 % of the FF weights are zero',
    )
    expect(text).toContain("Time: 12.3 s with onnxruntime's products (calibrate 2.0 s, solve 10.0 s); evaluation 7.3 s")
    expect(compressReport({ ...compressResult, fallbacks: [] }, {}, undefined, 'x')).toContain('Fallbacks: none')
  })

  it('says why there is no quality, and how to get one', () => {
    const bare = compressReport(compressResult, { model: './my model' }, undefined, '--no-eval was given')
    expect(bare).toContain('Quality: not measured, because --no-eval was given')
    expect(bare).toContain("spexpand eval demo-spexpand --dense './my model'")
  })

  it('adds the spread of the down router when it has its own', () => {
    const blocks = compressResult.blocks.map((block) => ({ ...block, tokensPerDownExpert: [1, 2, 3, 4] }))
    const split = linesOf(compressReport({ ...compressResult, blocks }, {}, undefined, 'x'))
    expect(split.find((line) => line.startsWith('0 '))).toContain('12  500  14,000  1  3  4')
  })

  it('has no control characters and no trailing blanks', () => {
    // oxlint-disable-next-line no-control-regex -- that there are none is the claim
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/)
    expect(text).not.toMatch(/ $/m)
  })
})

describe('evaluateReport()', () => {
  it('puts all targets first, then each domain, and - where there is no dense model', () => {
    const lines = linesOf(evaluateReport(evaluateResult))
    const rows = lines.slice(lines.indexOf('text  targets  perplexity  ± s.e.  dense  KL (nats)  same top-1') + 1)
    expect(rows.slice(0, 3)).toEqual([
      'all  16,320  29.42  0.61  26.47  0.110  81.2 %',
      'kjv  8,000  12.10  0.20  -  -  -',
      'moby  8,320  14,905  20  -  -  -',
    ])
    expect(lines[0]).toBe('demo-spexpand: 64 windows of 256 tokens')
  })

  it('has no standard error of one window', () => {
    expect(linesOf(evaluateReport({ ...evaluateResult, standardError: Number.NaN }))).toContain(
      'all  16,320  29.42  -  26.47  0.110  81.2 %',
    )
  })

  it('prints the note that says why KL is missing', () => {
    expect(evaluateReport({ ...evaluateResult, note: 'the source model has moved' })).toContain(
      'Note: the source model has moved',
    )
  })
})

describe('planReport()', () => {
  it('puts what grows before what shrinks', () => {
    const lines = linesOf(planReport(planResult))
    const grows = lines.findIndex((line) => line.startsWith('grows:  stored on disk  9.44 MB  54.7 MB  5.80x'))
    const shrinks = lines.findIndex((line) => line.startsWith('shrinks:  read per token  9.44 MB  3.42 MB  0.362x'))
    expect(grows).toBeGreaterThan(0)
    expect(shrinks).toBe(grows + 1)
  })

  it('says how kept weights are stored', () => {
    expect(planReport(planResult)).toContain('70.0 % of the FF weights zero, the others as f16\n')
    const text = planReport({ ...planResult, values: 'int4', groupSize: 128 })
    expect(text).toContain('the others as int4, one scale for 128 inputs of a row')
    expect(planReport({ ...planResult, values: 'int8', groupSize: 0 })).toContain('the others as int8, one scale a row')
  })

  it('warns where the disk is too small, and says what the time rests on', () => {
    const text = planReport(planResult)
    expect(text).toContain('100 MB of 50.0 MB free: NOT ENOUGH')
    expect(text).toContain(
      'about 1 min 01 s on an idle machine, 1 min 50 s of processors, by a probe of one block (250 GFLOP/s a thread, amx)',
    )
    expect(text).toContain('Warnings:\n  16 experts are bigger on disk')
    const { seconds: _, probe: __, ...unprobed } = planResult
    expect(planReport(unprobed)).toContain('not estimated')
  })

  it('names the matrices at rank risk', () => {
    expect(planReport({ ...planResult, rankRisk: ['down_proj'] })).toContain('damping carries the solver: down_proj')
  })
})

describe('outline()', () => {
  it('prints single values one a line and leaves out what is undefined', () => {
    expect(outline({ out: 'a.safetensors', loss: 1.234_567_8, zeros: 12, note: undefined, sizeBytes: 1500 })).toBe(
      'out        a.safetensors\nloss       1.23457\nzeros      12\nsizeBytes  1.50 kB\n',
    )
  })

  it('prints lists of objects as tables and objects as sections, after the single values', () => {
    const text = outline({
      tensors: [
        { name: 'a', shape: [2, 3], bytes: 24 },
        { name: 'longer', shape: [4], bytes: 16_000, sparsity: 0.7 },
      ],
      metadata: { format: 'pt', empty: {} },
      kind: 'safetensors',
      files: ['x', 'y'],
      none: [],
    })
    expect(text.split('\n')).toEqual([
      'kind   safetensors',
      'files  x, y',
      'none',
      '',
      'tensors (2)',
      '  name    shape     bytes  sparsity',
      '  a       (2, 3)     24 B         -',
      '  longer  (4)     16.0 kB  0.700000',
      '',
      'metadata',
      '  format  pt',
      '  empty   {}',
      '',
    ])
  })
})
