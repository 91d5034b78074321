import { readFileSync } from 'node:fs'

/** Version of this package; part of every artifact. */
export const TOOL_VERSION: string = (JSON.parse(readFileSync(packageUrl(), 'utf8')) as { version: string }).version

function packageUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json', import.meta.url)
}
