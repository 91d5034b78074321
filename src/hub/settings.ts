import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { UsageError } from '../errors.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Where models come from and where they are kept. */
export type HubSettings = {
  /** Server, without a slash at the end. */
  readonly endpoint: string
  /** Sent to the endpoint and to no other server. */
  readonly token?: string
  /** Folder of `models--owner--name`, shared with huggingface_hub. */
  readonly cacheFolder: string
  /** Take what is in the cache and ask no server. */
  readonly offline: boolean
  /** A request that breaks is sent again after each of these waits. */
  readonly retryWaitsMs: readonly number[]
}

/** Short, since a user watches. */
const RETRY_WAITS_MS: readonly number[] = [200, 1000, 3000]

const TRUE = /^(1|true|yes|on)$/i

/**
 * The settings that huggingface_hub of Python would use: HF_ENDPOINT, HF_TOKEN (else the token file of its login),
 * HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_HUB_OFFLINE. Throws UsageError for an endpoint that is no http address.
 */
export function hubSettings(environment: Environment, offline = false): HubSettings {
  const home = environment['HF_HOME'] ?? join(environment['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'huggingface')
  const endpoint = (environment['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, '')
  if (!/^https?:\/\/[^/]+/.test(endpoint))
    throw new UsageError(`HF_ENDPOINT: got "${endpoint}", wanted an address such as https://huggingface.co`)
  const token = tokenOf(environment, home)
  return {
    endpoint,
    ...(token === undefined ? {} : { token }),
    cacheFolder: environment['HF_HUB_CACHE'] ?? environment['HUGGINGFACE_HUB_CACHE'] ?? join(home, 'hub'),
    offline: offline || TRUE.test(environment['HF_HUB_OFFLINE'] ?? ''),
    retryWaitsMs: RETRY_WAITS_MS,
  }
}

function tokenOf(environment: Environment, home: string): string | undefined {
  const given = environment['HF_TOKEN'] ?? environment['HUGGING_FACE_HUB_TOKEN']
  if (given !== undefined) return given.trim() || undefined
  const file = environment['HF_TOKEN_PATH'] ?? join(home, 'token')
  return existsSync(file) ? readFileSync(file, 'utf8').trim() || undefined : undefined
}
