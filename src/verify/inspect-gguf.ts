import { openGguf } from '../formats/gguf/reader.ts'
import type { MetadataValue } from '../formats/gguf/metadata.ts'
import type { TensorSummary } from './inspect.ts'

export type GgufSummary = {
  readonly kind: 'gguf'
  readonly path: string
  /** Lists by their length, long texts by their beginning. */
  readonly metadata: Readonly<Record<string, string | number | boolean>>
  readonly tensors: readonly TensorSummary[]
}

const LONG_TEXT = 200

/** What is in a GGUF file, from its header. Throws as openGguf does. */
export function inspectGguf(path: string): GgufSummary {
  const file = openGguf(path)
  file.close()
  const metadata = [...file.metadata].map(([key, value]) => [key, summary(value)] as const)
  const tensors = [...file.tensors.values()]
    .map(({ name, kind, shape, byteLength }) => ({ name, dtype: kind.name, shape, bytes: byteLength }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return { kind: 'gguf', path, metadata: Object.fromEntries(metadata), tensors }
}

function summary(value: MetadataValue): string | number | boolean {
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'string') return value.length > LONG_TEXT ? `${value.slice(0, LONG_TEXT)}…` : value
  return typeof value === 'bigint' ? String(value) : (value as number | boolean)
}
