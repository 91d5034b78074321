import { createHash } from 'node:crypto'
import { basename, join } from 'node:path'
import { fileSha256 } from '../formats/sha256.ts'
import type { OpenedModel } from '../model/open.ts'

/** What a model is, whatever its folder is called. */
export type SourceHash = {
  /** Over the names and hashes of the files below. */
  readonly sha256: string
  readonly files: readonly { readonly name: string; readonly sha256: string }[]
}

/** SHA-256 of config.json, tokenizer.json and the weight files of a model. */
export async function sourceHash(model: OpenedModel): Promise<SourceHash> {
  const weights = new Set([...model.weights.tensors.values()].map((tensor) => tensor.file))
  const paths = [join(model.folder, 'config.json'), join(model.folder, 'tokenizer.json'), ...weights]
  const files: SourceHash['files'][number][] = []
  for (const path of paths) files.push({ name: basename(path), sha256: await fileSha256(path) })
  files.sort((a, b) => (a.name < b.name ? -1 : 1))
  const all = createHash('sha256')
  for (const { name, sha256 } of files) all.update(`${sha256}  ${name}\n`)
  return { sha256: all.digest('hex'), files }
}
