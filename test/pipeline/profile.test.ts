import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import type { CompressResult } from '../../src/index.ts'
import { compress, entangle, evaluate, inspect, openModel, plan, verify } from '../../src/index.ts'
import { layerOptions, profileDigest, readProfile } from '../../src/pipeline/profile.ts'

const folder = mkdtempSync(join(tmpdir(), 'spexpand-profile-'))
const at = (name: string): string => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true }))

const { layers } = openModel(demoModelFolder()).config
const PROFILE = {
  profileVersion: 1,
  layers: Array.from({ length: layers }, (_, layer) =>
    layer === 0 ? { experts: 1, sparsity: 0.5 } : layer === 1 ? { experts: 3, sparsity: 0.8 } : { experts: 2 },
  ),
}
const OPTIONS = { tokens: 1024, sequenceLength: 128, threads: 2, expertsProfile: at('profile.json') } as const

function write(name: string, value: unknown): string {
  writeFileSync(at(name), JSON.stringify(value))
  return at(name)
}

describe('readProfile()', () => {
  it.each([
    [{ profileVersion: 2, layers: [] }, 'profileVersion'],
    [{ profileVersion: 1, layers: [{ experts: 0 }] }, 'layers.0.experts'],
    [{ profileVersion: 1, layers: [{ experts: 2, sparsity: 1 }] }, 'layers.0.sparsity'],
    [{ profileVersion: 1, layers: [{ expert: 2 }] }, 'layers.0'],
  ])('refuses %j naming the field', (value, field) => {
    const path = write('bad.json', value)
    expect(() => readProfile(path)).toThrow(`Cannot read ${path}: ${field}`)
  })
})

describe('profileDigest()', () => {
  it('is that of the layers, not of the words around them', () => {
    const { layers: list } = PROFILE
    expect(profileDigest({ profileVersion: 1, rule: 'by hand', layers: list })).toBe(
      profileDigest({ profileVersion: 1, layers: list }),
    )
    expect(profileDigest({ profileVersion: 1, layers: list.slice(1) })).not.toBe(
      profileDigest({ profileVersion: 1, layers: list }),
    )
  })
})

describe.each(['shared', 'split'] as const)('compress() with experts by layer, %s router', (router) => {
  let result: CompressResult
  beforeAll(async () => {
    write('profile.json', PROFILE)
    result = await compress({ ...OPTIONS, router, out: at(router) })
  }, 300_000)

  it('gives every layer its experts and zeros, and says so in the manifest', () => {
    expect(result.blocks.map(({ tokensPerExpert }) => tokensPerExpert.length).slice(0, 3)).toEqual([1, 3, 2])
    const zeros = result.blocks.map(({ matrices }) => matrices.map(({ sparsity }) => Number(sparsity.toFixed(2))))
    expect(zeros.slice(0, 3)).toEqual([Array(3).fill(0.5), Array(3).fill(0.8), Array(3).fill(0.7)])
    const manifest = JSON.parse(readFileSync(join(at(router), 'spexpand.json'), 'utf8')) as {
      mixture: object
      options: Record<string, unknown>
    }
    expect(manifest.mixture).toMatchObject({ experts: 3, router, profile: PROFILE.layers })
    expect(manifest.options['expertsProfile']).toBe(profileDigest({ profileVersion: 1, layers: PROFILE.layers }))
    const schema = new URL('../../export/schema/spexpand.schema.json', import.meta.url)
    const validate = new Ajv2020({ strict: false }).compile(JSON.parse(readFileSync(schema, 'utf8')) as object)
    validate(manifest)
    expect(validate.errors).toBeNull()
  })

  it('stores as many bytes as plan() said', async () => {
    const planned = await plan({ ...OPTIONS, router, probe: false })
    expect(planned.ffBytesStored).toBe(result.ffBytesStored)
    expect(planned.profile!.layers).toEqual(PROFILE.layers)
  })

  it('is verified, evaluated and inspected', async () => {
    const verified = await verify({ model: at(router), integrity: true })
    expect(verified.integrity!.experts).toBe(3 * (1 + 3 + 2 * (layers - 2)))
    const quality = await evaluate({ model: at(router), windows: 4, sequenceLength: 128, threads: 2 })
    expect(quality.perplexity).toBeLessThan(3 * quality.densePerplexity!)
    const inspected = inspect(at(router))
    expect(inspected.kind === 'artifact' && inspected.mixture.profile).toEqual(PROFILE.layers)
  }, 120_000)
})

describe('an artifact with experts by layer', () => {
  it('goes on from an interrupted run, and not with another profile', async () => {
    write('profile.json', PROFILE)
    const abort = new AbortController()
    const stopped = compress({
      ...OPTIONS,
      out: at('resumed'),
      signal: abort.signal,
      onProgress: ({ stage, block }) => {
        if (stage === 'solve' && block === 2) abort.abort()
      },
    })
    await expect(stopped).rejects.toThrow('Interrupted')
    const other = { ...PROFILE, layers: PROFILE.layers.map(({ experts }) => ({ experts })) }
    const changed = { ...OPTIONS, out: at('resumed'), expertsProfile: write('other.json', other) }
    await expect(compress(changed)).rejects.toThrow('its expertsProfile was')
    await compress({ ...OPTIONS, out: at('resumed') })
    const manifest = (name: string): string => readFileSync(join(at(name), 'spexpand.json'), 'utf8')
    expect(manifest('resumed')).toBe(manifest('shared'))
  }, 300_000)

  it('is measured layer by layer, and its report proposes the next profile', async () => {
    const report = await entangle({ model: at('shared'), threads: 2, pairs: 64 })
    expect(report.mixture!.layers.map(({ tokensPerExpert }) => tokensPerExpert.length).slice(0, 3)).toEqual([1, 3, 2])
    // One expert on the baseline's own tokens is the baseline, but for masks that flip by the last bits of products.
    for (const { expansion } of report.matrices.slice(0, 3))
      for (const ri of expansion!.ri) expect(Math.abs(ri - 1)).toBeLessThan(0.01)
    const path = write('entanglement.json', report)
    const proposed = await plan({ fromReport: path, experts: 4, probe: false, profileOut: at('next.json') })
    expect(readProfile(at('next.json'))).toEqual(proposed.profile)
    const experts = proposed.profile!.layers.map((layer) => layer.experts)
    expect(experts.reduce((sum, n) => sum + n, 0)).toBe(4 * layers)
    expect(new Set(experts)).toEqual(new Set([2, 4, 8]))
  }, 120_000)

  it('refuses profiles that do not fit model or options', async () => {
    const path = write('profile.json', PROFILE)
    const run = { expertsProfile: path, probe: false }
    await expect(plan({ ...run, experts: 4 })).rejects.toThrow('--experts 4 with --experts-profile')
    await expect(plan({ ...run, stockBody: 'fold' })).rejects.toThrow('use stream')
    await expect(plan({ ...run, method: 'wanda' })).rejects.toThrow('with --method wanda')
    await expect(plan({ ...run, pattern: { kind: 'n:m', n: 2, m: 4 } })).rejects.toThrow('with --pattern')
    const short = write('short.json', { ...PROFILE, layers: PROFILE.layers.slice(1) })
    await expect(plan({ ...run, expertsProfile: short })).rejects.toThrow(`has ${layers - 1} layers`)
    const foreign = write('foreign.json', { ...PROFILE, sourceSha256: '0'.repeat(64) })
    await expect(plan({ ...run, expertsProfile: foreign })).rejects.toThrow('it was made for the model')
    await expect(plan({ profileOut: at('x.json'), probe: false })).rejects.toThrow('belong to --from-report')
  })
})

describe('layerOptions()', () => {
  it('are those of the run where the profile says nothing', () => {
    const pattern = { kind: 'unstructured', sparsity: 0.7 } as const
    expect(layerOptions({ experts: 16, pattern }, 0)).toEqual({ experts: 16, pattern })
    const profile = { profileVersion: 1, layers: [{ experts: 2 }] } as const
    expect(layerOptions({ experts: 2, pattern, profile }, 0)).toEqual({ experts: 2, pattern })
  })
})
