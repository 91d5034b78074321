import { statSync } from 'node:fs'
import { join } from 'node:path'
import { openSafetensors } from '../src/formats/safetensors/reader.ts'
import { fileSha256Parts } from '../src/formats/sha256.ts'

/** A file as the manifest lists it. */
export type FileEntry = {
  readonly name: string
  readonly bytes: number
  readonly sha256: string
  /** Of weight files: SHA-256 of what stands before the tensors, and of the bytes of every tensor, in the order of the file. */
  readonly headerSha256?: string
  readonly tensors?: readonly { readonly name: string; readonly sha256: string }[]
}

/** Reads a file of an artifact once, for the checksums of it and its parts. */
export function fileEntry(folder: string, name: string): FileEntry {
  const path = join(folder, name)
  const bytes = statSync(path).size
  if (!name.endsWith('.safetensors')) return { name, bytes, sha256: fileSha256Parts(path, []).whole }
  const file = openSafetensors(path)
  file.close()
  const tensors = [...file.tensors.values()].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)
  const { whole, parts } = fileSha256Parts(
    path,
    tensors.map(({ offset }) => offset),
  )
  return {
    name,
    bytes,
    sha256: whole,
    headerSha256: parts[0]!,
    tensors: tensors.map((tensor, i) => ({ name: tensor.name, sha256: parts[i + 1]! })),
  }
}
