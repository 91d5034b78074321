import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import { pruneMatrixFile } from '../../src/index.ts'
import type { PruneMatrixFileOptions } from '../../src/index.ts'
import { nativeProducts } from '../../src/runtime/native-products.ts'
import { fromBf16, fromF16, toBf16, toF16 } from '../../src/tensor/half.ts'
import { temporaryFolder } from '../formats/temp.ts'
import { quadraticLoss } from '../prune/naive.ts'

const input = new URL('../golden/numeric/sparsegpt-unstructured-0.7.safetensors', import.meta.url).pathname
const folder = temporaryFolder()
const pattern = { kind: 'unstructured', sparsity: 0.7 } as const

/** Runs the command's library call and reads what it wrote. */
async function run(options: Partial<PruneMatrixFileOptions>): Promise<{
  result: Awaited<ReturnType<typeof pruneMatrixFile>>
  read: (name: string) => Float32Array
  shape: (name: string) => readonly number[] | undefined
}> {
  const out = join(folder, `${JSON.stringify(options).replaceAll(/\W+/g, '-')}.safetensors`)
  const result = await pruneMatrixFile({ input, out, pattern, native: false, threads: 1, ...options })
  const using = <T>(body: (file: ReturnType<typeof openSafetensors>) => T): T => {
    const file = openSafetensors(out)
    try {
      return body(file)
    } finally {
      file.close()
    }
  }
  return {
    result,
    read: (name) => using((file) => file.readF32(name)),
    shape: (name) => using((file) => (file.tensors.has(name) ? file.get(name).shape : undefined)),
  }
}

describe('pruneMatrixFile()', () => {
  let W: Float32Array
  let H: Float64Array
  let [outputs, inputs] = [0, 0]
  beforeAll(() => {
    const file = openSafetensors(input)
    W = file.readF32('W')
    const [tokens] = file.get('X').shape
    outputs = file.get('W').shape[0]!
    inputs = file.get('W').shape[1]!
    const X = file.readF32('X')
    file.close()
    H = new Float64Array(inputs * inputs)
    for (let t = 0; t < tokens!; t++)
      for (let j = 0; j < inputs; j++)
        for (let k = 0; k < inputs; k++) H[j * inputs + k]! += (2 / tokens!) * X[t * inputs + j]! * X[t * inputs + k]!
  })

  it.each([
    { values: 'f16' },
    { values: 'bf16' },
    { values: 'int8' },
    { values: 'int8', groupSize: 64 },
    { values: 'int4' },
    { values: 'int4', groupSize: 32, refine: 3 },
    { values: 'int4', groupSize: 0, refine: 0 },
    { values: 'int4', method: 'wanda' },
    { values: 'f16', method: 'magnitude' },
  ] as const)('%j: the written weights have the printed loss, and lie on their grid', async (options) => {
    const { result, read, shape } = await run(options)
    const written = read('W')
    const exact = quadraticLoss(W, written, H, outputs, inputs)
    expect(Math.abs(result.lossUndamped / exact - 1)).toBeLessThan(1e-5)
    expect(result.products).toBe('onnxruntime')
    const method = 'method' in options ? { method: options.method } : {}
    const { result: plain } = await run({ ...method, refine: result.refine })
    expect(result.lossUndampedUnrounded).toBe(plain.lossUndamped)
    expect(plain.lossUndampedUnrounded).toBeUndefined()
    if (options.values === 'f16' || options.values === 'bf16') {
      expect(shape('scales')).toBeUndefined()
      expect(written).toEqual(options.values === 'f16' ? fromF16(toF16(written)) : fromBf16(toBf16(written)))
      return
    }
    const scales = read('scales')
    const groups = shape('scales')![1]!
    const width = ('groupSize' in options ? options.groupSize : options.values === 'int4' ? 128 : 0) || inputs
    expect(groups).toBe(Math.ceil(inputs / width))
    written.forEach((w, at) => {
      const scale = scales[Math.floor(at / inputs) * groups + Math.floor((at % inputs) / width)]!
      expect(Math.abs(w / scale - Math.round(w / scale))).toBeLessThan(2e-3)
    })
  })

  it('with refine 1, the default of int4, loses less than with 0, and never more than it says', async () => {
    const losses = await Promise.all(
      [0, 1, 2].map(async (refine) => (await run({ values: 'int4', refine })).result.lossDamped!),
    )
    expect(losses[1]).toBeLessThan(losses[0]!)
    expect(losses[2]).toBeLessThanOrEqual(losses[1]!)
    expect((await run({ values: 'int4' })).result).toMatchObject({ refine: 1, lossDamped: losses[1] })
    expect((await run({ values: 'int8' })).result.refine).toBe(0)
  })

  it('takes native products where there are any, and says so', async () => {
    const { result } = await run({ native: true, values: 'int8' })
    expect(result.products).toBe(nativeProducts() ? 'amx' : 'onnxruntime')
    const { result: other } = await run({ values: 'int8' })
    expect(Math.abs(result.lossUndamped / other.lossUndamped - 1)).toBeLessThan(1e-3)
  })

  it('refuses what means nothing', async () => {
    await expect(run({ groupSize: 32 })).rejects.toMatchObject({ kind: 'usage' })
    await expect(run({ values: 'f16', groupSize: 32 })).rejects.toMatchObject({ kind: 'usage' })
    await expect(run({ values: 'int4', groupSize: 48 })).rejects.toMatchObject({ kind: 'usage' })
    await expect(run({ method: 'wanda', refine: 1 })).rejects.toThrow('--refine 1 with --method wanda')
  })
})
