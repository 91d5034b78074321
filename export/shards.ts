import { join } from 'node:path'
import { FormatError } from '../src/errors.ts'
import { breathe } from '../src/formats/breathe.ts'
import { writeFileWhole } from '../src/formats/bytes.ts'
import type { PlannedTensor, TensorEntry } from '../src/formats/safetensors/plan.ts'
import { planSafetensors } from '../src/formats/safetensors/plan.ts'
import { createSafetensorsWriter } from '../src/formats/safetensors/writer.ts'
import { DTYPE_BYTES, elementCount } from '../src/tensor/dtype.ts'
import type { PlacedTensor } from './weights.ts'

/** A tensor to be stored, and where its bytes come from. */
export type TensorSource = TensorEntry & {
  /** Bytes [start, end) of the tensor. */
  readonly read: (start: number, end: number) => Uint8Array
}

/** How the tensors of an artifact are spread over files; nothing is written yet. */
export type ShardPlan = {
  readonly files: readonly { readonly name: string; readonly tensors: readonly TensorSource[] }[]
  readonly metadata: Readonly<Record<string, string>>
  /** Bytes of all tensors. */
  readonly totalBytes: number
  /** Where a tensor will lie. Throws FormatError for one that is not planned. */
  readonly place: (name: string) => PlacedTensor
}

/** Bytes of a tensor that are in memory while it is copied. */
const PIECE_BYTES = 1 << 26
const INDEX = 'model.safetensors.index.json'

/** model.safetensors, or with more than `shardBytes` of tensors model-0000i-of-0000n.safetensors, filled in order. */
export function planShards(
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
  shardBytes: number,
): ShardPlan {
  const groups: TensorSource[][] = [[]]
  let room = shardBytes
  for (const tensor of tensors) {
    const bytes = byteLengthOf(tensor)
    if (bytes > room && groups.at(-1)!.length > 0) {
      groups.push([])
      room = shardBytes
    }
    groups.at(-1)!.push(tensor)
    room -= bytes
  }
  const files = groups.map((group, i) => ({ name: shardName(i, groups.length), tensors: group }))
  const placed = new Map<string, PlacedTensor>()
  for (const { name: location, tensors } of files)
    for (const tensor of planSafetensors(tensors, metadata).tensors.values())
      placed.set(tensor.name, placedAt(tensor, location))
  return {
    files,
    metadata,
    totalBytes: tensors.reduce((sum, tensor) => sum + byteLengthOf(tensor), 0),
    place(name) {
      const tensor = placed.get(name)
      if (!tensor) throw new FormatError(`Cannot export: the graph needs tensor "${name}", which was not given`)
      return tensor
    },
  }
}

/** Writes the planned files, and the index when there are several. Each appears only when it is whole. */
export async function writeShards(folder: string, plan: ShardPlan): Promise<string[]> {
  for (const { name, tensors } of plan.files) await writeTensors(join(folder, name), tensors, plan.metadata)
  const names = plan.files.map(({ name }) => name)
  if (names.length === 1) return names
  writeFileWhole(join(folder, INDEX), indexOf(plan))
  return [...names, INDEX]
}

/** Writes one file of tensors, in pieces; it appears only when it is whole. */
export async function writeTensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const writer = createSafetensorsWriter(path, tensors, metadata)
  try {
    for (const tensor of tensors)
      for (let at = 0, end = byteLengthOf(tensor); at < end; at += PIECE_BYTES) {
        writer.write(tensor.name, tensor.read(at, Math.min(at + PIECE_BYTES, end)))
        await breathe()
      }
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
}

function indexOf(plan: ShardPlan): string {
  const entries = plan.files.flatMap(({ name, tensors }) => tensors.map((tensor) => [tensor.name, name] as const))
  entries.sort(([a], [b]) => (a < b ? -1 : 1))
  const index = { metadata: { total_size: plan.totalBytes }, weight_map: Object.fromEntries(entries) }
  return `${JSON.stringify(index, undefined, 2)}\n`
}

function shardName(i: number, count: number): string {
  if (count === 1) return 'model.safetensors'
  return `model-${fiveDigits(i + 1)}-of-${fiveDigits(count)}.safetensors`
}

function fiveDigits(n: number): string {
  return String(n).padStart(5, '0')
}

function byteLengthOf({ dtype, shape }: TensorEntry): number {
  return elementCount(shape) * DTYPE_BYTES[dtype]
}

export function placedAt({ dtype, shape, offset, byteLength }: PlannedTensor, location: string): PlacedTensor {
  return { dtype, shape, external: { location, offset, length: byteLength } }
}
