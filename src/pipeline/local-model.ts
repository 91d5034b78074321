import { existsSync, statSync } from 'node:fs'
import { FormatError } from '../errors.ts'
import { parseHubId } from '../hub/id.ts'
import { hubSettings } from '../hub/settings.ts'
import { fetchModel } from '../hub/snapshot.ts'
import { isGgufPath } from '../model/gguf-convert.ts'
import { exclusively } from './exclusive.ts'
import { ggufFolder } from './gguf-folder.ts'
import type { Progress } from './types.ts'

/** How a model that is not on this machine is found. */
export type ModelSource = {
  /** Branch, tag or commit of a model of the hub. @default 'main' */
  readonly revision?: string
  /** Take models of the hub from the cache only. @default the variable HF_HUB_OFFLINE */
  readonly offline?: boolean
}

export type LocalModelOptions = ModelSource & {
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/**
 * The folder of the model that a user names: a model or artifact folder as it is, a GGUF file converted, a model of the hub
 * ('owner/name', 'hf:owner/name', 'owner/name/file.gguf') downloaded. What exists on this machine comes first.
 * Throws FormatError when it is none of these, NetworkError, IntegrityError and what converting throws.
 */
export async function localModel(name: string, options: LocalModelOptions = {}): Promise<string> {
  const { revision, offline, onProgress, signal } = options
  if (existsSync(name)) return isGgufPath(name) && statSync(name).isFile() ? ggufFolder(name, options) : name
  const id = parseHubId(name)
  if (!id)
    throw new FormatError(
      `Cannot open model ${name}: no such file or folder, and no model of the hub either (owner/name): check the path`,
    )
  const found = await fetchModel(id, hubSettings(process.env, offline), {
    ...(revision === undefined ? {} : { revision }),
    ...(signal ? { signal } : {}),
    exclusively: (lock, download) =>
      exclusively(lock, download, {
        signal,
        onWait: (note) => onProgress?.({ stage: 'download', done: 0, total: 1, note }),
      }),
    onBytes: (done, total) => onProgress?.({ stage: 'download', done, total }),
  })
  return isGgufPath(found) ? ggufFolder(found, options) : found
}
