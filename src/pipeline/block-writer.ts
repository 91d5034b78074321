import type { Router } from '../cluster/router.ts'
import type { TensorEntry } from '../formats/safetensors/plan.ts'
import { createSafetensorsWriter } from '../formats/safetensors/writer.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import { packNibbles } from '../mixture/nibbles.ts'
import { VALUE_DTYPES } from '../mixture/values.ts'

/** The experts of one matrix (outputs, inputs), to be named `${base}.experts.…`. */
export type ExpertsOf = {
  readonly base: string
  readonly experts: readonly PackedExpert[]
  readonly outputs: number
  readonly inputs: number
}

/** A tensor whose bytes come in pieces, made when they are written. */
type Pieces = TensorEntry & { readonly pieces: () => Iterable<Uint8Array> }

/**
 * Writes the experts and routers of one block as the stacks of docs/formats.md, expert by expert: a stack of all of them
 * beside them would double what a block holds. The file appears when it is complete.
 * Throws ResourceError when there is no space left.
 */
export function writeBlock(
  path: string,
  matrices: readonly ExpertsOf[],
  routers: Readonly<Record<string, Router>>,
  metadata: Readonly<Record<string, string>>,
): void {
  const tensors = [
    ...matrices.flatMap(expertTensors),
    ...Object.entries(routers).flatMap(([base, router]) => routerTensors(base, router)),
  ]
  const writer = createSafetensorsWriter(
    path,
    tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    metadata,
  )
  try {
    for (const { name, pieces } of tensors) for (const piece of pieces()) writer.write(name, piece)
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
}

function expertTensors({ base, experts, outputs, inputs }: ExpertsOf): Pieces[] {
  const { form } = experts[0]!
  const count = 1 + experts.reduce((sum, { values }) => sum + values.length, 0)
  const values = form.type === 'int4' ? (count + 1) >> 1 : count
  const groups = (experts[0]!.scales?.length ?? 0) / outputs
  const tensors: Pieces[] = [
    {
      name: `${base}.experts.mask`,
      dtype: 'U8',
      shape: [experts.length, outputs, Math.ceil(inputs / 8)],
      pieces: () => experts.map(({ mask }) => mask),
    },
    {
      name: `${base}.experts.values`,
      dtype: VALUE_DTYPES[form.type],
      shape: [values],
      pieces: () => (form.type === 'int4' ? [nibblesOf(experts, count)] : valuePieces(experts)),
    },
    {
      name: `${base}.experts.row_offsets`,
      dtype: 'I64',
      shape: [experts.length, outputs],
      pieces: () => offsetPieces(experts),
    },
  ]
  if (groups > 0)
    tensors.splice(2, 0, {
      name: `${base}.experts.scales`,
      dtype: 'F16',
      shape: [experts.length, outputs, groups],
      pieces: () => experts.map(({ scales }) => bytesOf(scales!)),
    })
  return tensors
}

/** The leading 0 of a stack, then the values of every expert. */
function* valuePieces(experts: readonly PackedExpert[]): Generator<Uint8Array> {
  yield new Uint8Array(experts[0]!.values.BYTES_PER_ELEMENT)
  for (const { values } of experts) yield bytesOf(values)
}

/** Two experts may share a byte: int4 is packed as a whole. */
function nibblesOf(experts: readonly PackedExpert[], count: number): Uint8Array {
  const all = new Int8Array(count)
  let at = 1
  for (const { values } of experts) {
    all.set(values, at)
    at += values.length
  }
  return packNibbles(all)
}

/** Kept weights before each row, over the whole stack. */
function* offsetPieces(experts: readonly PackedExpert[]): Generator<Uint8Array> {
  let before = 0
  for (const { rowStarts, values } of experts) {
    yield bytesOf(BigInt64Array.from(rowStarts, (start) => BigInt(before + start)))
    before += values.length
  }
}

function routerTensors(base: string, { weight, bias }: Router): Pieces[] {
  return [
    {
      name: `${base}.weight`,
      dtype: 'F32',
      shape: [weight.rows, weight.cols],
      pieces: () => [bytesOf(weight.data)],
    },
    { name: `${base}.bias`, dtype: 'F32', shape: [bias.length], pieces: () => [bytesOf(bias)] },
  ]
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}
