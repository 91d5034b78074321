import { availableParallelism } from 'node:os'
import { FormatError, UsageError } from '../errors.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import { writeSafetensors } from '../formats/safetensors/writer.ts'
import type { ValueForm } from '../mixture/values.ts'
import { gridOf } from '../mixture/values.ts'
import { scaleGroups } from '../prune/grid.ts'
import type { PrunedMatrix, Rounding } from '../prune/prune-matrix.ts'
import { pruneMatrix } from '../prune/prune-matrix.ts'
import { createBlas } from '../runtime/blas.ts'
import { nativeProducts } from '../runtime/native-products.ts'
import type { RawTensor } from '../tensor/dtype.ts'
import type { Mat } from '../tensor/mat.ts'
import { matOf } from '../tensor/mat.ts'
import { f32 } from './files.ts'
import { refinement, valueForm } from './options.ts'
import type { Method, Pattern, ValueType } from './types.ts'

export type PruneMatrixFileOptions = {
  /** safetensors with `W` (out, in) and `X` (tokens, in). */
  readonly input: string
  /** safetensors to write: `W`, `mask_kept`, `scales` of a grid, and the losses by their names in the result. */
  readonly out: string
  readonly pattern: Pattern
  /** @default 'sparsegpt' */
  readonly method?: Exclude<Method, 'sparse-expansion'>
  /** Rounds the kept weights to what an artifact would store. @default not rounded */
  readonly values?: ValueType
  /** Inputs that share a scale, of int8 and int4: 32, 64, 128, or 0 for whole rows. @default 0 for int8, 128 for int4 */
  readonly groupSize?: number
  /** Passes of refinement after the sweep; 0 is SparseGPT as published. @default 1 for int4, else 0 */
  readonly refine?: number
  /** λ: λ · mean(diag H) is added to the diagonal of H. @default 0.01 */
  readonly damping?: number
  /** Largest λ that the damping ladder may reach. @default 1 */
  readonly dampingMax?: number
  /** Use the native products where they beat onnxruntime's (processors with AMX), on one thread. @default true */
  readonly native?: boolean
  /** Threads of onnxruntime's products. @default the processors this process may use */
  readonly threads?: number
}

/** Losses are tr ΔHΔᵀ with H = 2/n · XᵀX, those with `Damped` with the damped H (sparsegpt only). */
export type PruneMatrixFileResult = {
  readonly out: string
  readonly outputs: number
  readonly inputs: number
  readonly zeros: number
  /** Passes of refinement. */
  readonly refine: number
  readonly lossUndamped: number
  readonly lossDamped?: number
  /** What the same pruning loses when nothing is rounded; only with `values`. */
  readonly lossUndampedUnrounded?: number
  readonly lossDampedUnrounded?: number
  /** Kept weights that were stored as 0; only with f16 and bf16. */
  readonly underflows?: number
  /** What the matrix products were computed with. */
  readonly products: 'onnxruntime' | 'amx'
}

/**
 * Prunes one matrix of a file against the inputs beside it. Throws SpexpandError; its kind says whether options, the file
 * or numbers were at fault.
 */
export async function pruneMatrixFile(options: PruneMatrixFileOptions): Promise<PruneMatrixFileResult> {
  const method = options.method ?? 'sparsegpt'
  const form = formOf(options)
  const rounding = form && ('groupSize' in form ? gridOf(form)! : form)
  const refine = refinement(method, options.refine, form?.type === 'int4' ? 1 : 0)
  const { W, X } = readMatrices(options.input)
  const native = (options.native ?? true) ? nativeProducts() : undefined
  const result = await pruneMatrix({
    W,
    X,
    pattern: options.pattern,
    blas: native ?? (await createBlas(options.threads ?? availableParallelism())),
    method,
    refine,
    ...(rounding ? { rounding } : {}),
    ...(options.damping === undefined ? {} : { damping: options.damping }),
    ...(options.dampingMax === undefined ? {} : { dampingMax: options.dampingMax }),
  })
  const losses = lossesOf(result)
  writeSafetensors(options.out, tensorsOf(W, result, losses, rounding))
  return {
    out: options.out,
    outputs: W.rows,
    inputs: W.cols,
    zeros: result.zeros,
    refine,
    ...losses,
    ...(result.underflows === undefined ? {} : { underflows: result.underflows }),
    products: native ? 'amx' : 'onnxruntime',
  }
}

/** What the kept weights are rounded to, if anything. */
function formOf(options: Pick<PruneMatrixFileOptions, 'values' | 'groupSize'>): ValueForm | undefined {
  if (options.values !== undefined) return valueForm(options)
  if (options.groupSize === undefined) return undefined
  throw new UsageError(`--group-size ${options.groupSize} without --values: only int8 and int4 have scales`)
}

type Losses = Pick<
  PruneMatrixFileResult,
  'lossUndamped' | 'lossDamped' | 'lossUndampedUnrounded' | 'lossDampedUnrounded'
>

function lossesOf({ lossUndamped, lossDamped, unrounded }: PrunedMatrix): Losses {
  return {
    lossUndamped,
    ...(lossDamped === undefined ? {} : { lossDamped }),
    ...(unrounded ? { lossUndampedUnrounded: unrounded.lossUndamped } : {}),
    ...(unrounded?.lossDamped === undefined ? {} : { lossDampedUnrounded: unrounded.lossDamped }),
  }
}

/** Names of the losses in the file. */
const LOSS_TENSORS = {
  lossUndamped: 'loss_H_undamped',
  lossDamped: 'loss_H_damped',
  lossUndampedUnrounded: 'loss_H_undamped_unrounded',
  lossDampedUnrounded: 'loss_H_damped_unrounded',
} as const satisfies Record<keyof Losses, string>

function tensorsOf(
  { rows, cols }: Mat,
  { weights, mask, scales }: PrunedMatrix,
  losses: Losses,
  rounding: Rounding | undefined,
): Map<string, RawTensor> {
  const tensors = new Map<string, RawTensor>([
    ['W', f32([rows, cols], weights)],
    ['mask_kept', { dtype: 'U8', shape: [rows, cols], bytes: unpackBits(mask, rows, cols) }],
  ])
  if (scales && rounding && 'bits' in rounding)
    tensors.set('scales', {
      dtype: 'F16',
      shape: [rows, scaleGroups(rounding, cols)],
      bytes: new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength),
    })
  for (const [key, name] of Object.entries(LOSS_TENSORS) as [keyof Losses, string][])
    if (losses[key] !== undefined) tensors.set(name, f64(losses[key]))
  return tensors
}

function readMatrices(path: string): { W: Mat; X: Mat } {
  const file = openSafetensors(path)
  try {
    const read = (name: string): Mat => {
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

function f64(value: number): RawTensor {
  return { dtype: 'F64', shape: [1], bytes: new Uint8Array(Float64Array.of(value).buffer) }
}
