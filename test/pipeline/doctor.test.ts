import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { describe, expect, it } from 'vitest'
import { doctor } from '../../src/pipeline/doctor.ts'
import { createSession } from '../../src/runtime/session.ts'
import { TOOL_VERSION } from '../../src/version.ts'

describe('doctor()', () => {
  it('says what is there, and for every provider that does not run why and what to do', async () => {
    const result = await doctor()
    expect(result).toMatchObject({ version: TOOL_VERSION, node: process.versions.node, wasm: true })
    expect(result.onnxruntime.library).toMatch(/^1\.\d+\.\d+$/)
    expect(result.cpu.usable).toBe(availableParallelism())
    expect(result.memory.availableBytes).toBeGreaterThan(0)
    expect(result.memory.availableBytes).toBeLessThanOrEqual(result.memory.totalBytes)
    expect(result.providers.map(({ provider }) => provider)).toEqual(['cpu', 'spexpand', 'cuda', 'webgpu'])
    expect(result.providers[0]).toEqual({ provider: 'cpu', works: true })
    const missing = result.providers.filter(({ works }) => !works)
    const aboutArm = process.arch === 'arm64' && result.native.addon !== undefined ? 1 : 0
    expect(result.notes).toHaveLength(missing.length + aboutArm)
    for (const probe of missing)
      expect(result.notes.join('\n')).toContain(probe.works ? 'never' : `(${probe.because}): `)
    for (const path of [result.native.addon, result.native.operators])
      if (path !== undefined) expect(existsSync(path)).toBe(true)
    if (process.platform === 'linux' && process.arch === 'x64') expect(result.cpu.features).toBeInstanceOf(Array)
  })

  it('agrees with createSession() on the provider spexpand', async () => {
    const probe = (await doctor()).providers.find(({ provider }) => provider === 'spexpand')!
    // No model at all: with the native parts onnxruntime says so, without them it is not even asked.
    const creation = createSession(Uint8Array.of(1), { threads: 1, provider: 'spexpand' })
    await expect(creation).rejects.toThrow(probe.works ? 'Cannot load a model in memory' : probe.because)
  })
})
