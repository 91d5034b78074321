import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FormatError, IntegrityError, UnsupportedError } from '../../src/errors.ts'
import { checkIntegrity, isArtifact, openArtifact } from '../../src/verify/artifact.ts'
import type { ArtifactManifest } from '../../src/verify/manifest.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

let original: string
let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
  original = randomArtifact({ model: 'llama', experts: 2, sparsity: 0.5, parent: join(scratch, 'made') }).folder
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** A copy of the artifact to break. */
function copy(): string {
  const folder = mkdtempSync(join(scratch, 'copy-'))
  cpSync(original, folder, { recursive: true })
  return folder
}

function withManifest(change: (manifest: Record<string, unknown>) => void): string {
  const folder = copy()
  const manifest = JSON.parse(readFileSync(join(folder, 'spexpand.json'), 'utf8')) as Record<string, unknown>
  change(manifest)
  writeFileSync(join(folder, 'spexpand.json'), JSON.stringify(manifest))
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
  it('reads every byte and reports progress', () => {
    const artifact = openArtifact(original)
    const steps: number[] = []
    checkIntegrity(artifact, (done, total) => steps.push(done / total))
    expect(steps).toHaveLength(artifact.manifest.files.length)
    expect(steps.at(-1)).toBe(1)
  })

  it('finds one flipped bit', () => {
    const folder = copy()
    const path = join(folder, 'model.safetensors')
    const bytes = readFileSync(path)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(path, bytes)
    const artifact: { folder: string; manifest: ArtifactManifest } = openArtifact(folder)
    expect(() => checkIntegrity(artifact)).toThrow(IntegrityError)
    expect(() => checkIntegrity(artifact)).toThrow(/SHA-256 of model\.safetensors/)
  })
})
