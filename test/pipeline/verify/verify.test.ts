import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { Manifest } from '../../../export/manifest.ts'
import { encodeManifest } from '../../../export/manifest.ts'
import { IntegrityError, InterruptedError, UnsupportedError, UsageError } from '../../../src/errors.ts'
import { openModel } from '../../../src/model/open.ts'
import { sourceHash } from '../../../src/pipeline/fingerprint.ts'
import { verify } from '../../../src/pipeline/verify/verify.ts'
import type { VerifyOptions } from '../../../src/pipeline/verify/types.ts'
import { nativeStatus } from '../../../src/runtime/native.ts'
import { probeProviders } from '../../../src/runtime/probe.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'

const native = nativeStatus()
const isBuilt = native.found && native.operatorsPath !== undefined
if (!isBuilt)
  console.log('test/pipeline/verify/verify.test.ts: SKIPPED the provider spexpand, dist/native is not built')

let scratch: string
let folder: string
let manifest: string
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
  ;({ folder } = await randomArtifact({ model: demoModelFolder(), experts: 2, sparsity: 0.5, parent: scratch }))
  manifest = readFileSync(join(folder, 'spexpand.json'), 'utf8')
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** Small enough for seconds, on the portable form unless told otherwise. */
function small(more: Partial<VerifyOptions> = {}): VerifyOptions {
  return { model: folder, provider: 'cpu', threads: 1, windows: 2, sequenceLength: 24, rounds: 2, ...more }
}

/** Runs `work` while the artifact says that it was made from the embedded demo model. */
async function asDemo<T>(work: () => Promise<T>): Promise<T> {
  const model = openModel(demoModelFolder())
  const json = JSON.parse(manifest) as Manifest
  const { sha256 } = await sourceHash(model)
  model.close()
  writeFileSync(join(folder, 'spexpand.json'), encodeManifest({ ...json, source: { ...json.source, sha256 } }))
  try {
    return await work()
  } finally {
    writeFileSync(join(folder, 'spexpand.json'), manifest)
  }
}

describe('verify()', () => {
  it('checks files alone when only the integrity is asked for', async () => {
    const notes: string[] = []
    const result = await verify({
      ...small({ integrity: true }),
      onProgress: ({ stage, note }) => note !== undefined && notes.push(`${stage}: ${note}`),
    })
    expect(result).toMatchObject({ passed: true, gates: [], integrity: { matrices: 24, experts: 48 } })
    expect(result.run).toBeUndefined()
    expect(notes).toEqual(['check: SHA-256 of the files', 'check: every expert decoded'])
  })

  it('names a damaged file', async () => {
    const path = join(folder, 'model.safetensors')
    const bytes = readFileSync(path)
    const damaged = Buffer.from(bytes)
    damaged[damaged.length - 1]! ^= 1
    writeFileSync(path, damaged)
    try {
      await expect(verify(small())).rejects.toThrow(IntegrityError)
      await expect(verify(small())).rejects.toThrow(/SHA-256 of model.safetensors/)
    } finally {
      writeFileSync(path, bytes)
    }
  })

  it('measures quality and speed against the source model, and the gates that were set', async () => {
    const result = await asDemo(() => verify(small({ minSpeedup: 1e6, maxKl: 1e6, maxPerplexityRatio: 1e-6 })))
    const run = result.run!
    expect(run.provider).toBe('cpu')
    expect(run.runtime).toBe('onnxruntime cpu, portable functions')
    for (const { maxDifference } of run.decoding) expect(maxDifference).toBe(0)
    expect(run.parity.map(({ provider }) => provider)).toEqual(
      run.decoding.map(({ provider }) => provider).filter((provider) => provider !== 'cpu'),
    )
    expect([
      ...run.decoding.map(({ provider }) => provider),
      ...run.missing.map(({ provider }) => provider),
    ]).toHaveLength(4)
    const { quality, speed } = run
    expect(quality.perplexityRatio).toBeCloseTo(quality.perplexity / quality.densePerplexity!, 12)
    expect(speed.dense).toMatch(/^the source model/)
    for (const { sparse, dense, speedup } of [
      speed.ff.oneToken,
      speed.ff.prompt,
      speed.model!.prompt,
      speed.model!.decode,
    ]) {
      expect(sparse.medianMs).toBeGreaterThan(0)
      expect(speedup).toBeCloseTo(dense.medianMs / sparse.medianMs, 9)
      expect(sparse.q1Ms).toBeLessThanOrEqual(sparse.q3Ms)
    }
    expect([speed.ff.layers, speed.ff.ofLayers]).toEqual([8, 8])
    expect(speed.bytesPerToken.ffSparse).toBeLessThan(speed.bytesPerToken.ffDense / 2)
    expect('notMeasured' in speed.bandwidth).toBe(!native.found)
    const gates = Object.fromEntries(result.gates.map(({ gate, passed }) => [gate, passed]))
    expect(gates).toMatchObject({ 'KL from dense': true, 'perplexity by dense': false, 'speed-up of decoding': false })
    expect(result.passed).toBe(false)
  })

  it('compares with decoded experts where the source is not known, by our operators where they are, and says so', async () => {
    const { provider: _, ...options } = small()
    const { run, passed } = await verify(options)
    expect(run!.provider).toBe(isBuilt ? 'spexpand' : 'cpu')
    expect(run!.providerChosen).toMatch(isBuilt ? /operators are there/ : /spexpand does not run here/)
    expect(run!.speed.dense).toMatch(/decoded weights of expert 0/)
    expect(run!.speed.model!.decode.speedup).toBeGreaterThan(0)
    expect(run!.quality.kl).toBeUndefined()
    expect(run!.quality.note).toMatch(/--dense/)
    expect(passed).toBe(true)
    const ours = run!.parity.filter(({ provider }) => provider === 'spexpand')
    expect(ours).toHaveLength(isBuilt ? 1 : 0)
    for (const { relativeDifference, topOneAgreement } of ours) {
      expect(relativeDifference).toBeLessThan(1e-4)
      expect(topOneAgreement).toBe(1)
    }
    if (native.found) expect(run!.speed.bandwidthShare!.sparse).toBeGreaterThan(0)
  })

  it('refuses gates that need a dense model where there is none', async () => {
    await expect(verify(small({ maxKl: 1 }))).rejects.toThrow(UsageError)
  })

  it('never runs on another provider than the one asked for', async () => {
    const missing = (await probeProviders()).filter(({ works }) => !works)
    for (const { provider } of missing) await expect(verify(small({ provider }))).rejects.toThrow(UnsupportedError)
  })

  it('stops after an abort', async () => {
    await expect(verify(small({ signal: AbortSignal.abort() }))).rejects.toThrow(InterruptedError)
  })
})
