import { NetworkError } from '../errors.ts'
import type { HubSettings } from './settings.ts'

export type RequestOptions = {
  readonly method?: 'GET' | 'HEAD'
  readonly headers?: Readonly<Record<string, string>>
  readonly redirect?: 'follow' | 'manual'
  readonly signal?: AbortSignal | undefined
}

/** A server that says nothing for so long is taken for gone. */
export const SILENCE_MS = 20_000

/**
 * Sends one request to the hub, again when the connection or the server fails. The token goes to the endpoint only: fetch
 * drops it when a redirect leaves that server. Throws NetworkError naming address and answer.
 */
export async function request(url: string, settings: HubSettings, options: RequestOptions = {}): Promise<Response> {
  const { method = 'GET', redirect = 'follow', signal } = options
  const headers = {
    'user-agent': 'spexpand',
    // A compressed body would have another length than the file.
    'accept-encoding': 'identity',
    ...(settings.token === undefined ? {} : { authorization: `Bearer ${settings.token}` }),
    ...options.headers,
  }
  for (let attempt = 0; ; attempt++) {
    const wait = settings.retryWaitsMs[attempt]
    try {
      const response = await withSilence(signal, (inner) => fetch(url, { method, redirect, headers, signal: inner }))
      if (response.status < 500 || wait === undefined) return accepted(response, url, settings)
      await response.body?.cancel()
    } catch (cause) {
      if (signal?.aborted || cause instanceof NetworkError) throw cause
      if (wait === undefined) throw unreachable(url, cause)
    }
    await sleep(wait, signal)
  }
}

/** Runs `body` with a signal that also fires when nothing came for SILENCE_MS; `heard` starts the time anew. */
export async function withSilence<T>(
  signal: AbortSignal | undefined,
  body: (signal: AbortSignal, heard: () => void) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const abort = (): void => controller.abort(signal?.reason)
  const silence = (): void => controller.abort(new Error(`no answer for ${SILENCE_MS / 1000} seconds`))
  const timer = setTimeout(silence, SILENCE_MS)
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  try {
    return await body(controller.signal, () => timer.refresh())
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** Throws NetworkError: the server cannot be reached, or the connection broke. */
export function unreachable(url: string, cause: unknown): NetworkError {
  return new NetworkError(
    `Cannot reach ${url}: ${reasonOf(cause)}: check the connection and HF_ENDPOINT, or use --offline with what is in the cache`,
    { cause },
  )
}

export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }
    const timer = setTimeout(done, ms)
    const stop = (): void => {
      clearTimeout(timer)
      reject(signal!.reason as Error)
    }
    if (signal?.aborted) stop()
    else signal?.addEventListener('abort', stop, { once: true })
  })
}

function accepted(response: Response, url: string, settings: HubSettings): Response {
  const { status } = response
  if (status < 400 || status === 416) return response
  void response.body?.cancel()
  const said = response.headers.get('x-error-message')
  const answer = `the server answers ${status}${said ? ` (${said.replaceAll(/\s+/g, ' ').slice(0, 200)})` : ''}`
  if (status === 401 || status === 403)
    throw new NetworkError(
      `Cannot get ${url}: ${answer}: ` +
        (settings.token === undefined
          ? 'there is no such model, or it wants a login: check the name, or set HF_TOKEN'
          : 'the token in use has no access: ask for it on the page of the model, or check HF_TOKEN'),
    )
  if (status === 404) throw new NetworkError(`Cannot get ${url}: ${answer}: check the name and --revision`)
  throw new NetworkError(`Cannot get ${url}: ${answer}: try again later`)
}

/** What went wrong below fetch, whose own message is 'fetch failed'. */
function reasonOf(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const text =
    inner instanceof Error ? inner.message || ('code' in inner ? String(inner.code) : inner.name) : String(inner)
  return text.replaceAll(/\s+/g, ' ')
}
