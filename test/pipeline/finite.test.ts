import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { FormatError, SolverError } from '../../src/errors.ts'
import { compress } from '../../src/index.ts'
import { assertFiniteRows } from '../../src/pipeline/finite.ts'
import type { RawTensor } from '../../src/tensor/dtype.ts'
import { addLetters } from '../fixtures/letters.ts'
import { changedModel } from '../fixtures/model-folder.ts'

const made: string[] = []
afterAll(() => made.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

/** Compresses a golden model whose tensors were changed. */
async function compressed(name: string, change: (tensors: Map<string, RawTensor>) => void): Promise<unknown> {
  const model = changedModel(name, { tensors: change })
  const out = mkdtempSync(join(tmpdir(), 'spexpand-finite-'))
  made.push(model, out)
  const text = { paths: [addLetters(model, { characters: 400 })] }
  const sizes = { tokens: 128, sequenceLength: 16, threads: 1, native: false, experts: 2 } as const
  const result = await compress({ ...sizes, model, text, out: join(out, 'artifact') })
  expect(existsSync(join(out, 'artifact', 'spexpand.json'))).toBe(true)
  return result
}

/** Sets the 16 or 32 bits of element `index` of a tensor. */
function set(tensors: Map<string, RawTensor>, name: string, index: number, bits: number): void {
  const tensor = tensors.get(name)!
  const bytes = Uint8Array.from(tensor.bytes)
  if (tensor.dtype === 'F32') new DataView(bytes.buffer).setUint32(4 * index, bits, true)
  else new DataView(bytes.buffer).setUint16(2 * index, bits, true)
  tensors.set(name, { ...tensor, bytes })
}

function huge(tensors: Map<string, RawTensor>): void {
  const name = 'model.layers.0.mlp.down_proj.weight'
  const tensor = tensors.get(name)!
  const numbers = new Float32Array(Uint8Array.from(tensor.bytes).buffer).map((w) => w * 1e25)
  tensors.set(name, { ...tensor, bytes: new Uint8Array(numbers.buffer) })
}

function zero(tensors: Map<string, RawTensor>): void {
  const name = 'model.layers.1.post_attention_layernorm.weight'
  const tensor = tensors.get(name)!
  tensors.set(name, { ...tensor, bytes: new Uint8Array(tensor.bytes.byteLength) })
}

describe('compress() of a model with numbers that are none', () => {
  it.each([
    ['llama', 'model.layers.1.mlp.up_proj.weight', 77, 0x7fc00000],
    ['llama', 'model.layers.0.self_attn.q_proj.weight', 3, 0x7f800000],
    ['llama', 'model.norm.weight', 0, 0xff800000],
    // A row of the embedding that no text uses: no hidden state would tell.
    ['llama', 'model.embed_tokens.weight', 64 * 200, 0x7fc00001],
    ['llama-bf16', 'model.layers.1.input_layernorm.weight', 5, 0x7fc0],
    ['llama-f16', 'model.layers.1.mlp.down_proj.weight', 9, 0xfc00],
  ])('%s: names %s and element %d', async (model, name, index, bits) => {
    const result = compressed(model, (tensors) => set(tensors, name, index, bits))
    await expect(result).rejects.toThrow(FormatError)
    await expect(result).rejects.toThrow(`Cannot use tensor "${name}" of `)
    await expect(result).rejects.toThrow(`element ${index} is NaN or infinite`)
  })

  it('names the layer in which hidden states overflow', async () => {
    const result = compressed('llama', huge)
    // Errors of workers come back with their kind, whatever their class was.
    await expect(result).rejects.toMatchObject({ kind: 'numerical' })
    await expect(result).rejects.toThrow(/layer [01]/)
  })

  it('takes inputs that are all zero: norms of zeros', async () => {
    const result = compressed('llama', zero)
    await expect(result).rejects.toThrow(
      /Cannot cluster 128 tokens into 2 experts: only 1 of their vectors are distinct/,
    )
  })
})

describe('assertFiniteRows()', () => {
  const at = { what: 'hidden states', layer: 3, firstRow: 100 }

  it.each([NaN, Infinity, -Infinity, 1e19, -1e30])('names layer and token of %d', (bad) => {
    const rows = new Float32Array(60).fill(1e18)
    expect(() => assertFiniteRows(rows, 20, at)).not.toThrow()
    rows[45] = bad
    expect(() => assertFiniteRows(rows, 20, at)).toThrow(SolverError)
    expect(() => assertFiniteRows(rows, 20, at)).toThrow(/in layer 3: hidden states of token 102 hold/)
  })
})
