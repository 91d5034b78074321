import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { FormatError } from '../../src/errors.ts'
import { inspect } from '../../src/verify/inspect.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
const llama = fileURLToPath(new URL('../golden/models/llama', import.meta.url))

const parent = join(scratch, 'made')
const made = await randomArtifact({ model: 'llama', experts: 3, sparsity: 0.5, split: true, parent })

describe('inspect()', () => {
  it('tells mixture, matrices, weights and graph of an artifact', () => {
    const result = inspect(made.folder)
    if (result.kind !== 'artifact') throw new Error(`kind is ${result.kind}`)
    expect(result.mixture).toMatchObject({ experts: 3, router: 'split', layers: 2 })
    expect(result.matrices).toHaveLength(6)
    expect(result.matrices[5]).toMatchObject({ layer: 1, matrix: 'down_proj', error: 0.5, fewestTokens: 100 })
    expect(result.weights.metadata['spexpand.experts']).toBe('3')
    expect(result.graph.operators).toContainEqual({ operator: 'spexpand.SparseExpertMatMul', nodes: 6 })
    expect(result.graph.functions[0]!.function).toBe('spexpand.SparseExpertMatMul')
    expect(result.graph.initializers.externalFiles).toEqual(['model.safetensors'])
    // The graph uses every tensor of the file, once.
    expect(result.graph.initializers.externalBytes).toBe(result.weights.bytes)
  })

  it('tells config and tensors of a model folder', () => {
    const result = inspect(llama)
    if (result.kind !== 'model') throw new Error(`kind is ${result.kind}`)
    expect(result.config.layers).toBe(2)
    expect(result.weights).toMatchObject({ tensors: 20, files: ['model.safetensors'] })
    expect(result.weights.dtypes).toEqual([{ dtype: 'F32', tensors: 20, bytes: result.weights.bytes }])
    expect(result.tensors.find(({ name }) => name === 'model.norm.weight')).toEqual({
      name: 'model.norm.weight',
      dtype: 'F32',
      shape: [64],
      bytes: 256,
    })
  })

  it('reads a .safetensors and an .onnx file by themselves', () => {
    const weights = inspect(join(llama, 'golden.safetensors'))
    expect(weights).toMatchObject({ kind: 'safetensors', weights: { files: ['golden.safetensors'] } })
    const graph = inspect(join(made.folder, 'model.onnx'))
    expect(graph).toMatchObject({ kind: 'onnx', graph: { irVersion: 10 } })
    expect(graph.kind === 'onnx' && graph.graph.outputs[0]).toEqual({
      name: 'logits',
      type: 'float',
      shape: ['batch', 'sequence', 272],
    })
  })

  it('refuses what it does not know, saying what it wants', () => {
    writeFileSync(join(scratch, 'notes.txt'), 'x')
    expect(() => inspect(join(scratch, 'notes.txt'))).toThrow(/ending in "\.txt".*wanted an artifact/)
    expect(() => inspect(scratch)).toThrow(/neither spexpand\.json nor config\.json/)
    expect(() => inspect(join(scratch, 'nowhere'))).toThrow(FormatError)
  })
})
