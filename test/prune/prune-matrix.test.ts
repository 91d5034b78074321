import { beforeAll, describe, expect, it } from 'vitest'
import { readSafetensors } from '../../src/formats/safetensors/reader.ts'
import type { Pattern } from '../../src/prune/pattern.ts'
import { pruneMatrix } from '../../src/prune/prune-matrix.ts'
import { createBlas } from '../../src/runtime/blas.ts'
import type { Blas } from '../../src/tensor/blas.ts'
import { matOf } from '../../src/tensor/mat.ts'
import { relativeError, unpackMask } from './naive.ts'

let blas: Blas
beforeAll(async () => {
  blas = await createBlas(1)
})

const GOLDEN = new URL('../golden/numeric/', import.meta.url)

/** Tensors of a golden file as typed arrays with their shape. */
function golden(name: string): (tensor: string) => { shape: readonly number[]; data: Float32Array | Float64Array } {
  const { tensors } = readSafetensors(new URL(`${name}.safetensors`, GOLDEN).pathname)
  return (tensor) => {
    const { dtype, shape, bytes } = tensors.get(tensor)!
    const buffer = bytes.slice().buffer
    const data =
      dtype === 'F32' ? new Float32Array(buffer) : dtype === 'F64' ? new Float64Array(buffer) : Float64Array.from(bytes)
    return { shape, data }
  }
}

function matrices(read: ReturnType<typeof golden>): { W: ReturnType<typeof matOf>; X: ReturnType<typeof matOf> } {
  const [W, X] = [read('W'), read('X')]
  return {
    W: matOf(W.shape[0]!, W.shape[1]!, W.data as Float32Array),
    X: matOf(X.shape[0]!, X.shape[1]!, X.data as Float32Array),
  }
}

describe('pruneMatrix() equals SparseGPT in double precision (golden)', () => {
  it.each<[string, Pattern]>([
    ['sparsegpt-unstructured-0.5', { kind: 'unstructured', sparsity: 0.5 }],
    ['sparsegpt-unstructured-0.7', { kind: 'unstructured', sparsity: 0.7 }],
    ['sparsegpt-2of4', { kind: 'n:m', n: 2, m: 4 }],
    ['sparsegpt-rank-deficient-0.7', { kind: 'unstructured', sparsity: 0.7 }],
    ['sparsegpt-dead-inputs-0.5', { kind: 'unstructured', sparsity: 0.5 }],
  ])('%s', async (name, pattern) => {
    const read = golden(name)
    const { W, X } = matrices(read)
    const got = await pruneMatrix({ W, X, pattern, blas })
    // No two scores are closer than 1.4e-4 relative (golden/README.md), so the masks must be equal.
    expect(unpackMask(got.mask, W.rows, W.cols)).toEqual(Uint8Array.from(read('mask_kept').data))
    expect(relativeError(got.weights, read('W_pruned_f64').data)).toBeLessThan(1e-5)
    expect(Math.abs(got.lossDamped! / read('loss_H_damped').data[0]! - 1)).toBeLessThan(1e-5)
    expect(Math.abs(got.lossUndamped / read('loss_H_undamped').data[0]! - 1)).toBeLessThan(1e-5)
    expect(got.factor!.factorizations).toBe(1)
  })
})

it('pruneMatrix() with wanda equals the golden mask', async () => {
  const { W, X } = matrices(golden('sparsegpt-unstructured-0.7'))
  const got = await pruneMatrix({ W, X, pattern: { kind: 'unstructured', sparsity: 0.7 }, method: 'wanda', blas })
  expect(unpackMask(got.mask, W.rows, W.cols)).toEqual(Uint8Array.from(golden('wanda-0.7')('mask_kept').data))
  expect(got.lossDamped).toBeUndefined()
})

it('pruneMatrix() orders the methods by loss: sparsegpt below wanda and magnitude, norm above all', async () => {
  const { W, X } = matrices(golden('sparsegpt-unstructured-0.5'))
  const pattern: Pattern = { kind: 'unstructured', sparsity: 0.5 }
  const loss = async (method: 'sparsegpt' | 'wanda' | 'magnitude'): Promise<{ lossUndamped: number; norm: number }> =>
    pruneMatrix({ W, X, pattern, method, blas })
  const best = await loss('sparsegpt')
  for (const method of ['wanda', 'magnitude'] as const) {
    const other = await loss(method)
    expect(best.lossUndamped).toBeLessThan(other.lossUndamped)
    expect(other.lossUndamped).toBeLessThan(other.norm)
    expect(other.norm).toBe(best.norm)
  }
})

it('pruneMatrix() refuses inputs of another width, none at all, and numbers that are not finite', async () => {
  const W = matOf(2, 4, new Float32Array(8).fill(1))
  const pattern: Pattern = { kind: 'unstructured', sparsity: 0.5 }
  await expect(pruneMatrix({ W, X: matOf(3, 5, new Float32Array(15)), pattern, blas })).rejects.toThrow(
    'inputs X are (3, 5), expected at least one row and 4 columns',
  )
  await expect(pruneMatrix({ W, X: matOf(0, 4, new Float32Array(0)), pattern, blas })).rejects.toThrow(/at least one/)
  const X = matOf(3, 4, new Float32Array(12).fill(NaN))
  for (const method of ['sparsegpt', 'wanda', 'magnitude'] as const)
    await expect(pruneMatrix({ W, X, pattern, method, blas })).rejects.toThrow(/Cannot prune.*NaN/)
})
