import { describe, expect, it } from 'vitest'
import type { VerifyOptions, VerifyResult } from '../../src/index.ts'
import { runCli } from './context.ts'

const timing = { medianMs: 2, q1Ms: 1.5, q3Ms: 2.5, runs: 15 }
const comparison = { tokens: 1, sparse: timing, dense: { ...timing, medianMs: 5 }, speedup: 2.5 }

const verified: VerifyResult = {
  model: 'art',
  integrity: {
    files: 6,
    bytes: 62e6,
    externalTensors: 138,
    hashedTensors: 140,
    matrices: 24,
    experts: 384,
    weights: 1000,
    nonZero: 300,
  },
  run: {
    provider: 'spexpand',
    providerChosen: 'the native operators are there',
    runtime: 'onnxruntime cpu, spexpand operators',
    threads: 2,
    decoding: [{ provider: 'spexpand', weights: 5000, maxDifference: 0 }],
    parity: [
      { provider: 'spexpand', rows: 100, maxDifference: 1e-5, relativeDifference: 1e-6, kl: 1e-12, topOneAgreement: 1 },
    ],
    missing: [{ provider: 'cuda', because: 'no library' }],
    quality: {
      targets: 8160,
      perplexity: 30,
      standardError: 1,
      nll: 3.4,
      kl: 0.1,
      topOneAgreement: 0.8,
      densePerplexity: 25,
      perplexityRatio: 1.2,
      windows: 32,
      sequenceLength: 256,
    },
    speed: {
      dense: 'the source model, demo-model',
      ff: { layers: 8, ofLayers: 8, oneToken: comparison, prompt: { ...comparison, tokens: 256 } },
      model: { prompt: { ...comparison, tokens: 512 }, decode: comparison },
      bytesPerToken: { ffSparse: 3.5e6, ffDense: 18.9e6, other: 10e6 },
      bandwidth: { bytesPerSecond: 12e9, bufferBytes: 2 ** 30, threads: 2 },
      bandwidthShare: { sparse: 0.5, dense: 0.9 },
    },
  },
  gates: [{ gate: 'KL of spexpand from the portable form', limit: 1e-4, measured: 1e-12, passed: true }],
  passed: true,
  wallMs: 61_000,
}
const missed: VerifyResult = {
  ...verified,
  gates: [...verified.gates, { gate: 'speed-up of decoding', limit: 3, measured: 2.5, passed: false }],
  passed: false,
}

describe('spexpand verify', () => {
  it('hands every flag to the option of the same name', async () => {
    const calls: object[] = []
    const line =
      'verify art --integrity --dense d --text a.txt --provider cpu --threads 2 --windows 4 --sequence-length 64 ' +
      '--rounds 5 --min-speedup 1.5 --max-kl 0.2 --max-perplexity-ratio 1.1 --quiet'
    const { code } = await runCli(line, {
      verify: (options: VerifyOptions) => {
        const { onProgress, signal, ...rest } = options
        onProgress?.({ stage: 'check', done: 1, total: 1 })
        expect(signal?.aborted).toBe(false)
        calls.push(rest)
        return Promise.resolve(verified)
      },
    })
    expect(code).toBe(0)
    expect(calls).toEqual([
      {
        model: 'art',
        integrity: true,
        dense: 'd',
        text: { paths: ['a.txt'] },
        provider: 'cpu',
        threads: 2,
        windows: 4,
        sequenceLength: 64,
        rounds: 5,
        minSpeedup: 1.5,
        maxKl: 0.2,
        maxPerplexityRatio: 1.1,
      },
    ])
  })

  it('reports what was checked and measured', async () => {
    const { code, stdout, stderr } = await runCli('verify art --quiet', { verify: () => Promise.resolve(verified) })
    expect([code, stderr]).toEqual([0, ''])
    for (const part of [
      'art: intact\n',
      '384 experts of 24 matrices decoded: 1,000 weights, 70.0 % zero',
      'spexpand decodes 5,000 weights bit for bit',
      'cuda does not run here: no library',
      'Below, spexpand is measured (the native operators are there).',
      '1.200 times the dense 25.00, KL 0.100',
      'dense: the source model, demo-model',
      'with one token the FF layers reach 50.0 % of that, dense 90.0 %',
      'passed: KL of spexpand from the portable form',
      'Time: 1 min 01 s\n',
    ])
      expect(stdout).toContain(part)
    expect(stdout).toMatch(/model, one token +2\.00 +1\.50-2\.50 +5\.00 +1\.50-2\.50 +2\.50x +500\n/)
  })

  it('exits with 7 for a missed gate, after telling what was measured', async () => {
    const message = 'art misses 1 gate: speed-up of decoding is 2.50, the limit 3.00'
    const text = await runCli('verify art', { verify: () => Promise.resolve(missed) })
    expect(text).toMatchObject({ code: 7, stderr: `spexpand: ${message}\n` })
    expect(text.stdout).toContain('MISSED: speed-up of decoding: 2.50, limit 3.00')
    const json = await runCli('verify art --json', { verify: () => Promise.resolve(missed) })
    expect(json.code).toBe(7)
    expect(JSON.parse(json.stdout)).toEqual({ ...missed, error: { kind: 'gate', message } })
  })

  it('says what was not measured', async () => {
    const { run, ...rest } = verified
    const files = await runCli('verify art --integrity', { verify: () => Promise.resolve({ ...rest, gates: [] }) })
    expect(files.stdout).not.toContain('Speed')
    const { perplexityRatio: _, densePerplexity: __, kl: ___, ...quality } = run!.quality
    const { model: ____, bandwidthShare: _____, ...speed } = run!.speed
    const bare: VerifyResult = {
      ...verified,
      run: {
        ...run!,
        quality: { ...quality, note: 'give --dense' },
        speed: { ...speed, modelNote: 'the whole model was not timed', bandwidth: { notMeasured: 'no addon' } },
      },
    }
    const { stdout } = await runCli('verify art', { verify: () => Promise.resolve(bare) })
    for (const part of ['give --dense', 'the whole model was not timed', 'was not measured: no addon'])
      expect(stdout).toContain(part)
    expect(stdout).not.toContain('model, one token')
  })
})
