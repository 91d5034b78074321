import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { IntegrityError, NetworkError } from '../errors.ts'
import { request, sleep, unreachable, withSilence } from './request.ts'
import type { HubSettings } from './settings.ts'

/** One file of a repository, as the hub announces it. */
export type RemoteFile = {
  readonly name: string
  readonly url: string
  /** Its content: a SHA-256 for large files, the id of a git blob for the others. */
  readonly etag: string
  readonly bytes: number
}

type Listener = (bytes: number) => void

/** Redirects of a HEAD request that stay on the hub (renamed repositories). */
const MAX_REDIRECTS = 5

/** Asks the hub what a file is. Throws NetworkError when it does not say. */
export async function describeFile(
  name: string,
  url: string,
  settings: HubSettings,
  signal?: AbortSignal,
): Promise<RemoteFile> {
  let at = url
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const { headers } = await request(at, settings, { method: 'HEAD', redirect: 'manual', signal })
    const location = headers.get('location')
    // A redirect to storage has the file's etag beside it; one on the hub itself leads to where that is said.
    if (location?.startsWith('/') && !headers.has('x-linked-etag')) {
      at = new URL(location, at).href
      continue
    }
    const etag = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^W\//, '').replaceAll('"', '')
    const bytes = Number(headers.get('x-linked-size') ?? headers.get('content-length') ?? NaN)
    if (!/^[\w.-]+$/.test(etag) || /^\.+$/.test(etag) || !Number.isSafeInteger(bytes) || bytes < 0)
      throw new NetworkError(
        `Cannot get ${url}: the server says neither what the file is nor how long (etag "${etag}"): check HF_ENDPOINT`,
      )
    return { name, url, etag, bytes }
  }
  throw new NetworkError(`Cannot get ${url}: more than ${MAX_REDIRECTS} redirects`)
}

/**
 * Downloads a file to `blob`, through `blob.incomplete`: what is there already is not asked for again, a broken
 * connection is taken up where it broke. The file gets its name when length and hash are right; a wrong hash is tried
 * once more from the start. `onBytes` hears how much is there. Throws NetworkError, IntegrityError.
 */
export async function downloadFile(
  file: RemoteFile,
  blob: string,
  settings: HubSettings,
  { signal, onBytes = () => {} }: { readonly signal?: AbortSignal | undefined; readonly onBytes?: Listener } = {},
): Promise<void> {
  fs.mkdirSync(path.dirname(blob), { recursive: true })
  const partial = `${blob}.incomplete`
  for (const isLast of [false, true]) {
    await fetchAll(file, partial, settings, signal, onBytes)
    const found = hashOf(file, partial)
    if (found === undefined || found === file.etag) {
      fs.renameSync(partial, blob)
      return
    }
    fs.rmSync(partial)
    if (isLast)
      throw new IntegrityError(
        `Cannot use ${file.url}: its hash is ${found}, the hub says ${file.etag}: the download was damaged twice, try again`,
      )
  }
}

/** Fetches the missing end until the file has its length, as long as each try brings something or tries are left. */
async function fetchAll(
  file: RemoteFile,
  partial: string,
  settings: HubSettings,
  signal: AbortSignal | undefined,
  onBytes: Listener,
): Promise<void> {
  let failures = 0
  for (let have = sizeOf(partial); have !== file.bytes || !fs.existsSync(partial); have = sizeOf(partial)) {
    if (have > file.bytes) fs.truncateSync(partial, 0)
    try {
      await fetchRest(file, partial, settings, signal, onBytes)
    } catch (cause) {
      if (signal?.aborted || cause instanceof NetworkError || isSystemError(cause)) throw cause
      failures = sizeOf(partial) > have ? 0 : failures + 1
      const wait = settings.retryWaitsMs[failures]
      if (wait === undefined) throw unreachable(file.url, cause)
      await sleep(wait, signal)
    }
  }
  onBytes(file.bytes)
}

async function fetchRest(
  file: RemoteFile,
  partial: string,
  settings: HubSettings,
  signal: AbortSignal | undefined,
  onBytes: Listener,
): Promise<void> {
  const have = sizeOf(partial)
  const headers = have > 0 ? { range: `bytes=${have}-` } : {}
  await withSilence(signal, async (inner, heard) => {
    const response = await request(file.url, settings, { headers, signal: inner })
    const resumed =
      response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${have}-`) === true
    if (!resumed && response.status !== 200) {
      // The server will not go on from here: from the start, then.
      await response.body?.cancel()
      fs.truncateSync(partial, 0)
      throw new Error(`the server answers ${response.status} to a request for the bytes from ${have} on`)
    }
    const out = fs.openSync(partial, resumed ? 'a' : 'w')
    try {
      let at = resumed ? have : 0
      for await (const chunk of response.body ?? []) {
        heard()
        at += chunk.byteLength
        if (at > file.bytes)
          throw new NetworkError(
            `Cannot get ${file.url}: the server sends more than the ${file.bytes} bytes it announced`,
          )
        fs.writeSync(out, chunk)
        onBytes(at)
      }
      if (at < file.bytes) throw new Error(`the connection ended after ${at} of ${file.bytes} bytes`)
    } finally {
      fs.closeSync(out)
    }
  })
}

/** The hash that the etag is one of; undefined for an etag of another kind, which says nothing about the bytes. */
function hashOf({ etag, bytes }: RemoteFile, partial: string): string | undefined {
  const isSha256 = /^[0-9a-f]{64}$/.test(etag)
  if (!isSha256 && !/^[0-9a-f]{40}$/.test(etag)) return undefined
  const hash = createHash(isSha256 ? 'sha256' : 'sha1')
  if (!isSha256) hash.update(`blob ${bytes}\0`)
  const fd = fs.openSync(partial, 'r')
  try {
    const piece = new Uint8Array(1 << 22)
    for (let got = fs.readSync(fd, piece); got > 0; got = fs.readSync(fd, piece)) hash.update(piece.subarray(0, got))
  } finally {
    fs.closeSync(fd)
  }
  return hash.digest('hex')
}

function sizeOf(file: string): number {
  return fs.existsSync(file) ? fs.statSync(file).size : 0
}

/** A full disk or a forbidden folder: trying again does not help, and it is no matter of the network. */
function isSystemError(cause: unknown): boolean {
  return (
    cause instanceof Error &&
    'syscall' in cause &&
    ['open', 'write', 'close', 'ftruncate'].includes(String(cause.syscall))
  )
}
