import fs from 'node:fs'
import path from 'node:path'
import { NetworkError } from '../errors.ts'
import type { RepositoryCache } from './cache.ts'
import { fileIn, isCommit, isPlainPath, repositoryCache } from './cache.ts'
import type { RemoteFile } from './file.ts'
import { describeFile, downloadFile } from './file.ts'
import type { HubId } from './id.ts'
import { request } from './request.ts'
import type { HubSettings } from './settings.ts'

export type FetchOptions = {
  /** Branch, tag or commit. @default 'main' */
  readonly revision?: string
  readonly signal?: AbortSignal
  /** Hears the bytes that are there of those wanted. */
  readonly onBytes?: (done: number, total: number) => void
  /**
   * Runs a download under a lock file, so that no two processes write to the same `.incomplete` file; what it waited for may
   * be there then. @default nobody else downloads to this cache
   */
  readonly exclusively?: (lock: string, download: () => Promise<void>) => Promise<void>
}

const CONFIG = 'config.json'
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
/** Taken where a repository has them. */
const SMALL_FILES: readonly string[] = [
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
]
/** Answers about a repository list its files; more than this is no such answer. */
const MAX_ANSWER_BYTES = 50_000_000

/**
 * The path of a model of the hub in the local cache, downloaded as far as it is missing: the folder of a snapshot, or its
 * one GGUF file. Only what spexpand reads is fetched: configuration, tokenizer, safetensors. A commit that is there whole,
 * and everything in offline mode, needs no server.
 * Throws NetworkError when server or cache do not have it, IntegrityError for damaged downloads.
 */
export async function fetchModel(id: HubId, settings: HubSettings, options: FetchOptions = {}): Promise<string> {
  const { revision = 'main' } = options
  const cache = repositoryCache(settings.cacheFolder, id.repository)
  if (settings.offline || isCommit(revision)) {
    const found = cached(id, cache, revision)
    if (found !== undefined) return found
    if (settings.offline)
      throw new NetworkError(
        `Cannot use ${id.repository} at ${revision} offline: ${settings.cacheFolder} does not have it whole: ` +
          'download it without --offline (HF_HUB_OFFLINE)',
      )
  }
  const { commit, names } = await listRepository(id, settings, revision, options.signal)
  await fetchFiles(id, cache, settings, { commit, names }, options)
  cache.remember(revision, commit)
  return pathOf(id, cache.snapshot(commit))
}

function pathOf({ file }: HubId, snapshot: string): string {
  return file === undefined ? snapshot : path.join(snapshot, ...file.split('/'))
}

/** The path of a snapshot that is complete on this machine. */
function cached(id: HubId, cache: RepositoryCache, revision: string): string | undefined {
  const commit = cache.commitOf(revision)
  if (commit === undefined) return undefined
  const snapshot = cache.snapshot(commit)
  const has = (name: string): boolean => fileIn(snapshot, name) !== undefined
  if (id.file !== undefined) return has(id.file) ? pathOf(id, snapshot) : undefined
  if (!has(CONFIG) || !has('tokenizer.json')) return undefined
  if (has(WEIGHTS)) return snapshot
  return has(INDEX) && shardsOf(path.join(snapshot, INDEX)).every(has) ? snapshot : undefined
}

type Listing = { readonly commit: string; readonly names: ReadonlySet<string> }

async function listRepository(
  { repository }: HubId,
  settings: HubSettings,
  revision: string,
  signal: AbortSignal | undefined,
): Promise<Listing> {
  const url = `${settings.endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}`
  const response = await request(url, settings, { signal })
  const text = await bodyText(response, url)
  let answer: { sha?: unknown; siblings?: unknown }
  try {
    answer = JSON.parse(text) as typeof answer
  } catch (cause) {
    throw new NetworkError(`Cannot read the answer of ${url}: it is not JSON: check HF_ENDPOINT`, { cause })
  }
  const { sha, siblings } = answer ?? {}
  if (typeof sha !== 'string' || !isCommit(sha) || !Array.isArray(siblings))
    throw new NetworkError(`Cannot read the answer of ${url}: it names neither commit nor files: check HF_ENDPOINT`)
  const names = siblings.map((one: { rfilename?: unknown } | null) => one?.rfilename)
  return {
    commit: sha,
    names: new Set(names.filter((name) => typeof name === 'string' && isPlainPath(name)) as string[]),
  }
}

async function bodyText(response: Response, url: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.byteLength
      if (bytes > MAX_ANSWER_BYTES) break
      chunks.push(chunk)
    }
  } catch (cause) {
    throw new NetworkError(`Cannot read the answer of ${url}: the connection broke: try again`, { cause })
  }
  if (bytes > MAX_ANSWER_BYTES)
    throw new NetworkError(`Cannot read the answer of ${url}: it is longer than ${MAX_ANSWER_BYTES} bytes`)
  return Buffer.concat(chunks).toString('utf8')
}

/** Downloads what is wanted and missing. The index of sharded weights comes first: it names the shards. */
async function fetchFiles(
  id: HubId,
  cache: RepositoryCache,
  settings: HubSettings,
  { commit, names }: Listing,
  { signal, onBytes = () => {}, exclusively = (_, download) => download() }: FetchOptions,
): Promise<void> {
  const urlOf = (name: string): string =>
    `${settings.endpoint}/${id.repository}/resolve/${commit}/${name.split('/').map(encodeURIComponent).join('/')}`
  const describe = (name: string): Promise<RemoteFile> => describeFile(name, urlOf(name), settings, signal)
  const first = firstFiles(id, names, settings)
  const files: RemoteFile[] = []
  for (const name of first) files.push(await describe(name))
  let done = 0
  const total = (): number => files.reduce((sum, { bytes }) => sum + bytes, 0)
  const take = async (file: RemoteFile): Promise<void> => {
    const blob = cache.blob(file.etag)
    const before = done
    const download = async (): Promise<void> => {
      if (!fs.existsSync(blob))
        await downloadFile(file, blob, settings, { signal, onBytes: (bytes) => onBytes(before + bytes, total()) })
    }
    if (!fs.existsSync(blob)) await exclusively(cache.lock(file.etag), download)
    done += file.bytes
    onBytes(done, total())
    cache.link(commit, file.name, file.etag)
  }
  for (const file of files) await take(file)
  if (!first.includes(INDEX)) return
  const shards = shardsOf(path.join(cache.snapshot(commit), INDEX))
  for (const name of shards) {
    if (!names.has(name))
      throw new NetworkError(`Cannot use ${id.repository}: ${INDEX} names ${name}, which it does not have`)
    files.push(await describe(name))
  }
  for (const file of files.slice(-shards.length)) await take(file)
}

/** Files that are wanted before any of them is read. Throws NetworkError when the repository is of another kind. */
function firstFiles({ repository, file }: HubId, names: ReadonlySet<string>, { endpoint }: HubSettings): string[] {
  const refuse = (what: string, remedy: string): never => {
    throw new NetworkError(`Cannot use ${endpoint}/${repository}: it has no ${what}: ${remedy}`)
  }
  const ggufs = [...names].filter((name) => name.endsWith('.gguf')).sort()
  const example = ggufs.length > 0 ? `name one of its GGUF files, e.g. ${repository}/${ggufs[0]}` : undefined
  if (file !== undefined) return names.has(file) ? [file] : refuse(file, example ?? 'it has no GGUF files')
  if (!names.has(CONFIG)) return refuse(CONFIG, example ?? 'it is no model in Hugging Face layout')
  const weights = [WEIGHTS, INDEX].find((name) => names.has(name))
  if (weights === undefined) return refuse(WEIGHTS, example ?? 'save it in safetensors form first')
  return [CONFIG, ...SMALL_FILES.filter((name) => names.has(name)), weights]
}

/** The files that an index of sharded weights names, each once. */
function shardsOf(index: string): string[] {
  let map: unknown
  try {
    map = (JSON.parse(fs.readFileSync(index, 'utf8')) as { weight_map?: unknown } | null)?.weight_map
  } catch (cause) {
    throw new NetworkError(`Cannot read ${index}: it is not JSON`, { cause })
  }
  const names = [...new Set(Object.values((map ?? {}) as Record<string, unknown>))]
  const shards = names.filter((name) => typeof name === 'string').sort()
  if (shards.length < names.length || shards.length === 0)
    throw new NetworkError(`Cannot read ${index}: its weight_map names ${names.length === 0 ? 'no file' : 'no text'}`)
  const bad = shards.find((name) => !isPlainPath(name))
  if (bad !== undefined) throw new NetworkError(`Cannot read ${index}: its weight_map names "${bad.slice(0, 200)}"`)
  return shards
}
