import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { OpenedModel } from '../model/open.ts'

/** What a model is, whatever its folder is called. */
export type SourceHash = {
  /** Over the names and hashes of the files below. */
  readonly sha256: string
  readonly files: readonly { readonly name: string; readonly sha256: string }[]
}

const PIECE_BYTES = 1 << 22

/** SHA-256 of config.json, tokenizer.json and the weight files of a model. */
export function sourceHash(model: OpenedModel): SourceHash {
  const weights = new Set([...model.weights.tensors.values()].map((tensor) => tensor.file))
  const paths = [join(model.folder, 'config.json'), join(model.folder, 'tokenizer.json'), ...weights]
  const files = paths
    .map((path) => ({ name: basename(path), sha256: fileSha256(path) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const all = createHash('sha256')
  for (const { name, sha256 } of files) all.update(`${sha256}  ${name}\n`)
  return { sha256: all.digest('hex'), files }
}

function fileSha256(path: string): string {
  const hash = createHash('sha256')
  const fd = openSync(path, 'r')
  try {
    const piece = new Uint8Array(PIECE_BYTES)
    for (let n = readSync(fd, piece); n > 0; n = readSync(fd, piece)) hash.update(piece.subarray(0, n))
  } finally {
    closeSync(fd)
  }
  return hash.digest('hex')
}
