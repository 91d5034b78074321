import { basename, resolve } from 'node:path'

/** A snapshot in the cache of huggingface_hub, whose own name is a commit. */
const SNAPSHOT = /[\\/]models--([^\\/]+)--([^\\/]+)[\\/]snapshots[\\/][0-9a-f]{40}$/

/** What a model is called: its folder's name, or 'owner/name' for a model of the hub. */
export function modelName(folder: string): string {
  const path = resolve(folder)
  const [, owner, name] = SNAPSHOT.exec(path) ?? []
  return owner === undefined ? basename(path) : `${owner}/${name}`
}
