import { FormatError } from '../errors.ts'
import type { TensorFile } from '../formats/safetensors/reader.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import { fileSha256Parts } from '../formats/sha256.ts'
import type { ArtifactManifest } from './manifest.ts'

type FileEntry = ArtifactManifest['files'][number]

/** Damaged tensors that are named; more of them are counted. */
const NAMED = 3

/**
 * What of a damaged file differs from the manifest, in words: tensors by their names, its header, or why that cannot be
 * told. `entry` has the checksum of the whole file, and of weight files those of their parts.
 */
export async function describeDamage(path: string, { headerSha256, tensors: wanted }: FileEntry): Promise<string> {
  if (!path.endsWith('.safetensors')) return 'it is no weight file, so no tensor of it can be named'
  if (!wanted || headerSha256 === undefined)
    return 'which tensor it is cannot be told: the artifact was written by a version without checksums of tensors'
  const placed = openPlaced(path)
  if ('because' in placed) return `its header is damaged: ${placed.because}`
  const { whole, parts } = await fileSha256Parts(
    path,
    placed.tensors.map(({ offset }) => offset),
  )
  // With a sound header the tensors lie where it says; in a damaged one they may lie anywhere.
  if (parts[0] !== headerSha256) return 'its header is damaged'
  const found = new Map(placed.tensors.map(({ name }, i) => [name, parts[i + 1]]))
  const bad = wanted.filter(({ name, sha256 }) => found.get(name) !== sha256).map(({ name }) => `"${name}"`)
  if (bad.length === 0) return `all its tensors are as they were written, the whole is ${whole}`
  const more = bad.length > NAMED ? ` and ${bad.length - NAMED} more` : ''
  return `damaged ${bad.length === 1 ? 'is tensor' : 'are tensors'} ${bad.slice(0, NAMED).join(', ')}${more}`
}

function openPlaced(path: string): { tensors: { name: string; offset: number }[] } | { because: string } {
  let file: TensorFile
  try {
    file = openSafetensors(path)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    return { because: error.message }
  }
  file.close()
  const tensors = [...file.tensors.values()]
  return { tensors: tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength) }
}
