import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Manifest } from '../../export/manifest.ts'
import { encodeManifest } from '../../export/manifest.ts'
import { FormatError, IntegrityError, SpexpandError, UnsupportedError } from '../../src/errors.ts'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import { checkIntegrity, isArtifact, openArtifact } from '../../src/verify/artifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

let original: string
let scratch: string
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
  const parent = join(scratch, 'made')
  original = (await randomArtifact({ model: 'llama', experts: 2, sparsity: 0.5, parent })).folder
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** A copy of the artifact to break. */
function copy(): string {
  const folder = mkdtempSync(join(scratch, 'copy-'))
  cpSync(original, folder, { recursive: true })
  return folder
}

/** A copy whose manifest was changed and has the checksum of that. */
function withManifest(change: (manifest: Record<string, unknown>) => void): string {
  const folder = copy()
  const manifest = JSON.parse(readFileSync(join(folder, 'spexpand.json'), 'utf8')) as Record<string, unknown>
  change(manifest)
  writeFileSync(join(folder, 'spexpand.json'), encodeManifest(manifest as unknown as Manifest))
  return folder
}

describe('openArtifact()', () => {
  it('gives the manifest of a sound artifact', () => {
    const { manifest } = openArtifact(original)
    expect(manifest.mixture).toMatchObject({ layers: 2, experts: 2, router: 'shared', stockBody: 'stream' })
    expect(manifest.blocks).toHaveLength(2)
    expect(isArtifact(original)).toBe(true)
  })

  it('says that a folder without manifest is none, or was not finished', () => {
    const folder = copy()
    rmSync(join(folder, 'spexpand.json'))
    expect(isArtifact(folder)).toBe(false)
    expect(() => openArtifact(folder)).toThrow(/no spexpand\.json.*interrupted/)
    expect(() => openArtifact(join(scratch, 'nowhere'))).toThrow(FormatError)
  })

  it('refuses files that are missing or have another size', () => {
    const folder = copy()
    appendFileSync(join(folder, 'model.onnx'), 'x')
    expect(() => openArtifact(folder)).toThrow(IntegrityError)
    rmSync(join(folder, 'model.onnx'))
    expect(() => openArtifact(folder)).toThrow(/model\.onnx is missing/)
  })

  it('refuses a manifest that leads out of the folder, lacks fields or is newer', () => {
    const outside = withManifest((manifest) => {
      manifest['files'] = [{ name: '../model.onnx', bytes: 1, sha256: 'a'.repeat(64) }]
    })
    expect(() => openArtifact(outside)).toThrow(/files\.0\.name: a file name without path/)
    expect(() => openArtifact(withManifest((manifest) => delete manifest['mixture']))).toThrow(/mixture/)
    expect(() => openArtifact(withManifest((manifest) => (manifest['files'] = [])))).toThrow(/lists no model\.onnx/)
    expect(() => openArtifact(withManifest((manifest) => (manifest['formatVersion'] = 2)))).toThrow(UnsupportedError)
    const fp8 = withManifest(
      (manifest) => (manifest['mixture'] = { ...(manifest['mixture'] as object), values: 'fp8' }),
    )
    expect(() => openArtifact(fp8)).toThrow(UnsupportedError)
    expect(() => openArtifact(fp8)).toThrow(/mixture.values is fp8, this version reads f16, bf16, int8, int4/)
    const folder = copy()
    writeFileSync(join(folder, 'spexpand.json'), '{"formatVersion": 1,')
    expect(() => openArtifact(folder)).toThrow(/it is not JSON/)
  })
})

describe('checkIntegrity()', () => {
  it('reads every byte and reports progress', async () => {
    const artifact = openArtifact(original)
    const steps: number[] = []
    await checkIntegrity(artifact, (done, total) => steps.push(done / total))
    expect(steps).toHaveLength(artifact.manifest.files.length)
    expect(steps.at(-1)).toBe(1)
  })

  it('finds any flipped bit in any file, and names the file and of weights the tensor', async () => {
    const folder = copy()
    const files = readdirSync(folder)
    const sound = new Map(files.map((name) => [name, readFileSync(join(folder, name))]))
    const weights = openSafetensors(join(folder, 'model.safetensors'))
    weights.close()
    const tensors = [...weights.tensors.values()]
    const dataStart = Math.min(...tensors.map(({ offset }) => offset))
    const flips = fc.record({
      file: fc.constantFrom(...files),
      place: fc.nat({ max: 2 ** 31 - 1 }),
      bit: fc.nat({ max: 7 }),
      // Headers are small beside the tensors.
      inHead: fc.boolean(),
    })
    const flipped = async ({
      file,
      place,
      bit,
      inHead,
    }: {
      file: string
      place: number
      bit: number
      inHead: boolean
    }): Promise<void> => {
      const bytes = Buffer.from(sound.get(file)!)
      const at = place % (inHead ? Math.min(bytes.length, dataStart) : bytes.length)
      bytes[at]! ^= 1 << bit
      writeFileSync(join(folder, file), bytes)
      try {
        const error = await errorOf(() => checkIntegrity(openArtifact(folder)))
        expect(error).toBeInstanceOf(SpexpandError)
        expect(error!.message).toContain(file)
        if (file !== 'spexpand.json') expect(error).toBeInstanceOf(IntegrityError)
        if (file !== 'model.safetensors') return
        const damaged = tensors.find(({ offset, byteLength }) => at >= offset && at < offset + byteLength)
        expect(error!.message).toContain(damaged ? `damaged is tensor "${damaged.name}")` : 'its header is damaged')
      } finally {
        writeFileSync(join(folder, file), sound.get(file)!)
      }
    }
    await fc.assert(fc.asyncProperty(flips, flipped), { numRuns: 150, seed: 1 })
    expect(await errorOf(() => checkIntegrity(openArtifact(folder)))).toBeUndefined()
  })

  it('names up to three damaged tensors and counts the others', async () => {
    const folder = copy()
    const path = join(folder, 'model.safetensors')
    const bytes = readFileSync(path)
    const { tensors, close } = openSafetensors(path)
    close()
    const [a, b, c, d] = [...tensors.values()].sort((one, two) => one.offset - two.offset)
    for (const { offset } of [d!, a!, b!, c!]) bytes[offset]! ^= 1
    writeFileSync(path, bytes)
    await expect(checkIntegrity(openArtifact(folder))).rejects.toThrow(
      `damaged are tensors "${a!.name}", "${b!.name}", "${c!.name}" and 1 more)`,
    )
  })

  it('says of an older artifact that only the file can be told', async () => {
    const folder = withManifest(() => undefined)
    const { manifestSha256: _, ...manifest } = JSON.parse(
      readFileSync(join(folder, 'spexpand.json'), 'utf8'),
    ) as Manifest
    const files = manifest.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }))
    writeFileSync(join(folder, 'spexpand.json'), JSON.stringify({ ...manifest, files }))
    await checkIntegrity(openArtifact(folder))
    const bytes = readFileSync(join(folder, 'model.safetensors'))
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(join(folder, 'model.safetensors'), bytes)
    await expect(checkIntegrity(openArtifact(folder))).rejects.toThrow(
      /written by a version without checksums of tensors/,
    )
  })
})

describe('readManifest()', () => {
  it('refuses a manifest that was changed, or lost its own checksum', () => {
    const folder = copy()
    const path = join(folder, 'spexpand.json')
    const text = readFileSync(path, 'utf8')
    writeFileSync(path, text.replace('"layer": 0', '"layer": 1'))
    expect(() => openArtifact(folder)).toThrow(IntegrityError)
    expect(() => openArtifact(folder)).toThrow(/spexpand\.json is damaged: its SHA-256 is .*, its manifestSha256 says/)
    writeFileSync(path, text.replace('manifestSha256', 'manifestSha257'))
    expect(() => openArtifact(folder)).toThrow(/its manifestSha256 is missing/)
  })

  it('says that a newer artifact wants a newer version, with exit code 4', async () => {
    const error = await errorOf(() => openArtifact(withManifest((manifest) => (manifest['formatVersion'] = 7))))
    expect(error).toBeInstanceOf(UnsupportedError)
    expect(error!.message).toMatch(/formatVersion is 7, this version reads up to 1: update spexpand/)
  })

  it('refuses files that are links out of the folder', () => {
    const folder = copy()
    rmSync(join(folder, 'config.json'))
    symlinkSync(join(original, 'config.json'), join(folder, 'config.json'))
    expect(() => openArtifact(folder)).toThrow(/config\.json: it is a link that leads out of its folder/)
  })
})

async function errorOf(body: () => unknown): Promise<Error | undefined> {
  try {
    await body()
    return undefined
  } catch (error) {
    return error as Error
  }
}
