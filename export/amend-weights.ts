import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { FormatError } from '../src/errors.ts'
import { writeFileWhole } from '../src/formats/bytes.ts'
import { planSafetensors } from '../src/formats/safetensors/plan.ts'
import type { TensorFile } from '../src/formats/safetensors/reader.ts'
import { openSafetensors } from '../src/formats/safetensors/reader.ts'
import { openWeights } from '../src/formats/safetensors/weights.ts'
import type { ExternalData } from '../src/graph/builder.ts'
import type { TensorSource } from './shards.ts'
import { writeTensors } from './shards.ts'
import type { PlacedTensor, PlaceOf } from './weights.ts'

/** Weight files as they were written anew. */
export type AmendedWeights = {
  /** Names of the files written. */
  readonly files: readonly string[]
  /** Where data that lay somewhere in the old files lie in the new ones. Throws FormatError for no tensor's place. */
  readonly moved: (old: ExternalData) => ExternalData
  /** Where a tensor lies, new ones included. Throws FormatError for one that is not there. */
  readonly place: PlaceOf
}

const INDEX = 'model.safetensors.index.json'

/**
 * Writes the weight files of the artifact `from` into the folder `to`, with metadata added to every one and tensors to the
 * last; tensors of the same name are left out. Bytes of tensors stay as they are. A sharded artifact's index follows.
 */
export async function amendWeights(
  from: string,
  to: string,
  added: { readonly metadata: Readonly<Record<string, string>>; readonly tensors: readonly TensorSource[] },
): Promise<AmendedWeights> {
  const names = weightFiles(from)
  const moves = new Map<string, ExternalData>()
  const places = new Map<string, PlacedTensor>()
  const replaced = new Set(added.tensors.map(({ name }) => name))
  for (const [i, name] of names.entries()) {
    const file = openSafetensors(join(from, name))
    try {
      const kept = [...file.tensors.values()].filter((tensor) => !replaced.has(tensor.name))
      const sources = kept.map((tensor) => sourceOf(file, tensor))
      const all = i === names.length - 1 ? [...sources, ...added.tensors] : sources
      const metadata = { ...Object.fromEntries(file.metadata), ...added.metadata }
      await writeTensors(join(to, name), all, metadata)
      for (const [tensorName, planned] of planSafetensors(all, metadata).tensors) {
        const external = { location: name, offset: planned.offset, length: planned.byteLength }
        places.set(tensorName, { dtype: planned.dtype, shape: planned.shape, external })
        const old = file.tensors.get(tensorName)
        if (old) moves.set(placeKey(name, old.offset, old.byteLength), external)
      }
    } finally {
      file.close()
    }
  }
  const hasIndex = existsSync(join(from, INDEX))
  if (hasIndex) writeFileWhole(join(to, INDEX), indexOf(places))
  return {
    files: hasIndex ? [...names, INDEX] : names,
    moved({ location, offset, length }) {
      const external = moves.get(placeKey(location, offset, length))
      if (external) return external
      throw new FormatError(
        `Cannot amend ${from}: the graph reads ${length} bytes at ${offset} of ${location}, where no tensor lies`,
      )
    },
    place(name) {
      const placed = places.get(name)
      if (placed) return placed
      throw new FormatError(`Cannot amend ${from}: the graph needs tensor "${name}", which is not there`)
    },
  }
}

/** Names of the weight files, in the order of the shards. */
function weightFiles(folder: string): string[] {
  const store = openWeights(folder)
  const names = [...new Set([...store.tensors.values()].map(({ file }) => basename(file)))].sort()
  store.close()
  return names
}

function sourceOf(file: TensorFile, { name, dtype, shape }: { readonly name: string } & PlacedInfo): TensorSource {
  return { name, dtype, shape, read: (start, end) => file.readBytes(name, start, end) }
}
type PlacedInfo = Pick<PlacedTensor, 'dtype' | 'shape'>

function indexOf(places: ReadonlyMap<string, PlacedTensor>): string {
  const entries = [...places].sort(([a], [b]) => (a < b ? -1 : 1))
  const total = entries.reduce((sum, [, { external }]) => sum + external.length, 0)
  const map = Object.fromEntries(entries.map(([name, { external }]) => [name, external.location]))
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: map }, undefined, 2)}\n`
}

function placeKey(location: string, offset: number, length: number): string {
  return `${location}:${offset}+${length}`
}
