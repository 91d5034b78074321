import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { denseDecoderModel } from '../../export/onnx.ts'
import { FormatError, InterruptedError, UsageError } from '../../src/errors.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import { createSession } from '../../src/runtime/session.ts'
import { readGraph } from '../../src/verify/artifact.ts'
import type { EvaluationWindows } from '../../src/verify/evaluate.ts'
import { evaluateArtifact, evaluateGraph } from '../../src/verify/evaluate.ts'
import { graphHiddenSource } from '../../src/verify/hidden.ts'
import { splitBeforeHead } from '../../src/verify/split.ts'
import { runDecoder } from '../fixtures/decoder.ts'
import type { RandomArtifact } from '../fixtures/randomArtifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const T = 11
const N = 6
let scratch: string
let artifact: RandomArtifact
let windows: EvaluationWindows
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
  artifact = await randomArtifact({ model: 'llama', experts: 3, sparsity: 0.3, parent: join(scratch, 'made') })
  const { vocab } = artifact.model.config
  windows = {
    ids: Int32Array.from({ length: N * T }, (_, i) => (i * 97 + (i >> 2) * 31) % vocab),
    domains: Uint16Array.from({ length: N * T }, (_, i) => (i >= 3 * T + 4 ? 2 : 0)),
    domainNames: ['first', 'absent', 'last'],
    nWindows: N,
    sequenceLength: T,
  }
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** Logits (N · T, vocab) of a whole graph run, nothing split off. */
async function wholeLogits(source: string | Uint8Array, folder: string): Promise<Float32Array> {
  const session = await createSession(source, { threads: 1, folder })
  const ids = BigInt64Array.from(windows.ids, BigInt)
  const { logits } = await runDecoder(session, artifact.model.config, { ids, batch: N })
  await session.release()
  return logits
}

function logSoftmax(row: Float32Array): Float64Array {
  const x = Float64Array.from(row)
  const max = Math.max(...x)
  const sum = x.reduce((s, v) => s + Math.exp(v - max), 0)
  return x.map((v) => v - max - Math.log(sum))
}

type Target = { window: number; domain: number; nll: number; kl: number; agrees: boolean; denseNll: number }

/** Every target in float64, straight from two sets of logits. */
function twinTargets(logits: Float32Array, dense: Float32Array): Target[] {
  const { vocab } = artifact.model.config
  const targets: Target[] = []
  for (let window = 0; window < N; window++)
    for (let i = 0; i < T - 1; i++) {
      const at = window * T + i
      const p = logSoftmax(logits.subarray(at * vocab, (at + 1) * vocab))
      const q = logSoftmax(dense.subarray(at * vocab, (at + 1) * vocab))
      const id = windows.ids[at + 1]!
      targets.push({
        window,
        domain: windows.domains[at + 1]!,
        nll: -p[id]!,
        denseNll: -q[id]!,
        kl: q.reduce((sum, logQ, j) => sum + Math.exp(logQ) * (logQ - p[j]!), 0),
        agrees: p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)),
      })
    }
  return targets
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length

function evaluate(given: EvaluationWindows): Promise<unknown> {
  return evaluateArtifact({ folder: artifact.folder, windows: given, threads: 1 })
}

describe('evaluateArtifact()', () => {
  it('agrees with a float64 twin over whole logits: perplexity, KL, agreement, by domain', async () => {
    const { model, folder } = artifact
    const denseGraph = denseDecoderModel(model, '0')
    const dense = await graphHiddenSource(denseGraph, { folder: model.dataFolder, threads: 1 })
    const seen: string[] = []
    // 2304 = 4 bytes · 144 neurons · 4 rows: one window a run.
    const options = {
      activationBytes: 2304,
      onProgress: (done: number, total: number): number => seen.push(`${done}/${total}`),
    }
    const result = await evaluateArtifact({ folder, windows, dense, threads: 1, ...options })
    await dense.release()
    const targets = twinTargets(
      await wholeLogits(join(folder, 'model.onnx'), folder),
      await wholeLogits(encodeModel(denseGraph), model.dataFolder),
    )
    const { overall, domains } = result
    // Scores are float32 per target, sums float64.
    expect(overall.targets).toBe(N * (T - 1))
    expect(overall.nll).toBeCloseTo(mean(targets.map(({ nll }) => nll)), 5)
    expect(overall.perplexity / Math.exp(overall.nll)).toBeCloseTo(1, 12)
    expect(overall.kl).toBeCloseTo(mean(targets.map(({ kl }) => kl)), 5)
    expect(overall.kl).toBeGreaterThan(0.01)
    expect(overall.topOneAgreement).toBeCloseTo(mean(targets.map(({ agrees }) => Number(agrees))), 12)
    expect(overall.densePerplexity).toBeCloseTo(Math.exp(mean(targets.map(({ denseNll }) => denseNll))), 2)
    expect(Object.keys(domains)).toEqual(['first', 'last'])
    const last = targets.filter(({ domain }) => domain === 2)
    expect(domains['last']!.targets).toBe(last.length)
    expect(domains['last']!.nll).toBeCloseTo(mean(last.map(({ nll }) => nll)), 5)
    expect(seen).toEqual(['1/6', '2/6', '3/6', '4/6', '5/6', '6/6'])
  })

  it('gives the standard error of a sample of windows', async () => {
    const { overall } = await evaluateArtifact({ folder: artifact.folder, windows, threads: 1 })
    const targets = twinTargets(...([0, 1].map(() => logits) as [Float32Array, Float32Array]))
    const perWindow = Array.from({ length: N }, (_, w) => mean(targets.filter((t) => t.window === w).map((t) => t.nll)))
    // Windows of one length: the delta method is exp(mean) times the standard error of the mean of their NLLs.
    const m = mean(perWindow)
    const variance = perWindow.reduce((sum, value) => sum + (value - m) ** 2, 0) / (N - 1)
    expect(overall.standardError / (Math.exp(m) * Math.sqrt(variance / N))).toBeCloseTo(1, 4)
    expect(overall.kl).toBeUndefined()
    expect(overall.topOneAgreement).toBeUndefined()
  })
  let logits: Float32Array
  beforeAll(async () => {
    logits = await wholeLogits(join(artifact.folder, 'model.onnx'), artifact.folder)
  })

  it('refuses ids outside the vocabulary, windows without targets and a wrong number of ids', async () => {
    const bad = { ...windows, ids: windows.ids.slice() }
    bad.ids[5] = 272
    await expect(evaluate(bad)).rejects.toThrow(FormatError)
    await expect(evaluate(bad)).rejects.toThrow(/token 5 has id 272, the vocabulary has 272/)
    await expect(evaluate({ ...windows, sequenceLength: 1, nWindows: N * T })).rejects.toThrow(UsageError)
    await expect(evaluate({ ...windows, nWindows: N + 1 })).rejects.toThrow(/wanted 77 of each/)
  })

  it('stops when asked to', async () => {
    const stop = AbortSignal.abort()
    const run = evaluateArtifact({ folder: artifact.folder, windows, threads: 1, signal: stop })
    await expect(run).rejects.toThrow(InterruptedError)
  })
})

describe('splitBeforeHead()', () => {
  it('leaves every node on one side, but the last Reshape and the caches', () => {
    const whole = readGraph(artifact.folder)
    const { body, head } = splitBeforeHead(whole, 'x')
    expect(body.graph.node.length + head.nodes.length).toBe(whole.graph.node.length - 2)
    expect(body.graph.output.map(({ name }) => name)).toEqual(['/model/final_hidden'])
    expect(head.vocab).toBe(272)
  })

  it('refuses a model that does not say where to cut, or cannot be cut there', async () => {
    const silent = { ...readGraph(artifact.folder), metadataProps: [] }
    expect(() => splitBeforeHead(silent, 'x.onnx')).toThrow(/x\.onnx: its metadata has no spexpand\.final_hidden/)
    const early = { ...readGraph(artifact.folder), metadataProps: [{ key: 'spexpand.final_hidden', value: 'nothing' }] }
    await expect(evaluateGraph({ graph: early, folder: artifact.folder, windows, threads: 1 })).rejects.toThrow(
      /no node makes this value/,
    )
    const inside = readGraph(artifact.folder)
    const norm = inside.graph.node.find(({ name }) => name.startsWith('/model/norm/Pow'))!.output[0]!
    inside.metadataProps = [{ key: 'spexpand.final_hidden', value: norm }]
    expect(() => splitBeforeHead(inside, 'x')).toThrow(/is needed on both sides/)
  })
})
