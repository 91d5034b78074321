import { statSync } from 'node:fs'
import { join } from 'node:path'
import { openSafetensors } from '../src/formats/safetensors/reader.ts'
import { fileSha256, fileSha256Parts } from '../src/formats/sha256.ts'

/** A file as the manifest lists it. */
export type FileEntry = {
  readonly name: string
  readonly bytes: number
  readonly sha256: string
  /** Of weight files: SHA-256 of what stands before the tensors, and of the bytes of every tensor, in the order of the file. */
  readonly headerSha256?: string
  readonly tensors?: readonly { readonly name: string; readonly sha256: string }[]
}

/** The entries of files of an artifact, in their order. */
export async function fileEntries(folder: string, names: readonly string[]): Promise<FileEntry[]> {
  const entries: FileEntry[] = []
  for (const name of names) entries.push(await fileEntry(folder, name))
  return entries
}

/** Reads a file of an artifact once, for the checksums of it and its parts. */
async function fileEntry(folder: string, name: string): Promise<FileEntry> {
  const path = join(folder, name)
  const bytes = statSync(path).size
  if (!name.endsWith('.safetensors')) return { name, bytes, sha256: await fileSha256(path) }
  const file = openSafetensors(path)
  file.close()
  const tensors = [...file.tensors.values()].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)
  const { whole, parts } = await fileSha256Parts(
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
