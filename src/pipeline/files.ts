import { availableParallelism } from 'node:os'
import { matOf } from '../tensor/mat.ts'
import type { RawTensor } from '../tensor/dtype.ts'
import { FormatError } from '../errors.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import { writeSafetensors } from '../formats/safetensors/writer.ts'
import { openModel } from '../model/open.ts'
import { pruneMatrix } from '../prune/prune-matrix.ts'
import { createBlas } from '../runtime/blas.ts'
import { forward } from './forward.ts'
import type { Method, Pattern } from './types.ts'

export type ForwardFileOptions = {
  readonly model: string
  /** safetensors with `input_ids` I64 (batch, sequence). */
  readonly input: string
  /** safetensors to write: `logits`, `layers.{i}.ffn_in`, `layers.{i}.down_in`. */
  readonly out: string
  readonly threads?: number
}

/** Runs the dense model on the token ids of a file and writes what a reference implementation can be compared with. */
export async function forwardFile(
  options: ForwardFileOptions,
): Promise<{ out: string; batch: number; sequence: number; layers: number }> {
  const model = openModel(options.model)
  const ids = readIds(options.input)
  const tensors = new Map<string, RawTensor>()
  const [batch, sequence] = ids.shape
  try {
    const { hidden, ff, layers } = model.config
    const { logits } = await forward(
      model,
      { data: ids.data, B: batch, T: sequence },
      {
        threads: options.threads ?? availableParallelism(),
        onLayer(layer, ffnIn, downIn) {
          tensors.set(`layers.${layer}.ffn_in`, f32([batch, sequence, hidden], ffnIn))
          tensors.set(`layers.${layer}.down_in`, f32([batch, sequence, ff], downIn))
        },
      },
    )
    tensors.set('logits', f32([batch, sequence, model.config.vocab], logits))
    writeSafetensors(options.out, tensors)
    return { out: options.out, batch, sequence, layers }
  } finally {
    model.close()
  }
}

function readIds(path: string): { data: BigInt64Array; shape: [number, number] } {
  const file = openSafetensors(path)
  try {
    const info = file.get('input_ids')
    const [batch, sequence] = info.shape
    if (info.dtype !== 'I64' || info.shape.length !== 2 || !batch || !sequence)
      throw new FormatError(
        `Wrong input_ids in ${path}: got ${info.dtype} (${info.shape.join(', ')}), wanted I64 (batch, sequence)`,
      )
    return { data: new BigInt64Array(file.readBytes('input_ids').buffer as ArrayBuffer), shape: [batch, sequence] }
  } finally {
    file.close()
  }
}

export type PruneMatrixFileOptions = {
  /** safetensors with `W` (out, in) and `X` (tokens, in). */
  readonly input: string
  /** safetensors to write: `W`, `mask_kept`, `loss_H_damped`, `loss_H_undamped`. */
  readonly out: string
  readonly pattern: Pattern
  /** @default 'sparsegpt' */
  readonly method?: Exclude<Method, 'sparse-expansion'>
  readonly damping?: number
  readonly dampingMax?: number
  readonly threads?: number
}

/** Prunes one matrix of a file against the inputs beside it. */
export async function pruneMatrixFile(
  options: PruneMatrixFileOptions,
): Promise<{ out: string; outputs: number; inputs: number; zeros: number; lossDamped?: number; lossUndamped: number }> {
  const { W, X } = readMatrices(options.input)
  const blas = await createBlas(options.threads ?? availableParallelism())
  const result = await pruneMatrix({
    W,
    X,
    pattern: options.pattern,
    blas,
    method: options.method ?? 'sparsegpt',
    ...(options.damping === undefined ? {} : { damping: options.damping }),
    ...(options.dampingMax === undefined ? {} : { dampingMax: options.dampingMax }),
  })
  const tensors = new Map<string, RawTensor>([
    ['W', f32([W.rows, W.cols], result.weights)],
    ['mask_kept', { dtype: 'U8', shape: [W.rows, W.cols], bytes: unpackBits(result.mask, W.rows, W.cols) }],
    ['loss_H_undamped', f64(result.lossUndamped)],
  ])
  if (result.lossDamped !== undefined) tensors.set('loss_H_damped', f64(result.lossDamped))
  writeSafetensors(options.out, tensors)
  const { zeros, lossDamped, lossUndamped } = result
  return {
    out: options.out,
    outputs: W.rows,
    inputs: W.cols,
    zeros,
    lossUndamped,
    ...(lossDamped === undefined ? {} : { lossDamped }),
  }
}

function readMatrices(path: string): { W: ReturnType<typeof matOf>; X: ReturnType<typeof matOf> } {
  const file = openSafetensors(path)
  try {
    const read = (name: string): ReturnType<typeof matOf> => {
      const { shape } = file.get(name)
      if (shape.length !== 2)
        throw new FormatError(`Wrong ${name} in ${path}: got shape (${shape.join(', ')}), wanted two dimensions`)
      return matOf(shape[0]!, shape[1]!, file.readF32(name))
    }
    return { W: read('W'), X: read('X') }
  } finally {
    file.close()
  }
}

/** Bit-packed rows (bit 0 first) as one byte per weight. */
function unpackBits(mask: Uint8Array, rows: number, cols: number): Uint8Array {
  const rowBytes = Math.ceil(cols / 8)
  return Uint8Array.from({ length: rows * cols }, (_, at) => {
    const i = Math.floor(at / cols)
    const j = at % cols
    return (mask[i * rowBytes + (j >> 3)]! >> (j & 7)) & 1
  })
}

function f32(shape: number[], data: Float32Array): RawTensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}

function f64(value: number): RawTensor {
  return { dtype: 'F64', shape: [1], bytes: new Uint8Array(Float64Array.of(value).buffer) }
}
