import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { UnsupportedError, UsageError } from '../../../src/errors.ts'
import type { GgufFile } from '../../../src/formats/gguf/reader.ts'
import { openGguf } from '../../../src/formats/gguf/reader.ts'
import { convertGguf } from '../../../src/model/gguf-convert.ts'
import { openModel } from '../../../src/model/open.ts'
import { openTokenizer } from '../../../src/model/tokenizer.ts'
import { compress } from '../../../src/pipeline/compress.ts'
import { exportGguf } from '../../../src/pipeline/convert/gguf.ts'
import { forward } from '../../../src/pipeline/forward.ts'
import { createSession } from '../../../src/runtime/session.ts'
import { byteLetterModel } from '../../fixtures/byte-letters.ts'
import { maxDifference, runDecoder } from '../../fixtures/decoder.ts'
import type { RandomArtifact, RandomArtifactOptions } from '../../fixtures/randomArtifact.ts'
import { randomArtifact } from '../../fixtures/randomArtifact.ts'

const parents: string[] = []
afterAll(() => parents.forEach((parent) => rmSync(parent, { recursive: true, force: true })))

function parent(): string {
  parents.push(mkdtempSync(join(tmpdir(), 'spexpand-to-gguf-')))
  return parents.at(-1)!
}

/** A random artifact of a golden model that has got a tokenizer. */
async function artifactOf(
  golden: string,
  form: Omit<RandomArtifactOptions, 'model' | 'parent' | 'sparsity'>,
): Promise<RandomArtifact> {
  const at = parent()
  const { model } = byteLetterModel(golden, join(at, 'model'))
  return randomArtifact({ sparsity: 0.6, bias: false, ...form, model, parent: at })
}

function opened<T>(path: string, body: (file: GgufFile) => T): T {
  const file = openGguf(path)
  try {
    return body(file)
  } finally {
    file.close()
  }
}

const ids = Array.from({ length: 20 }, (_, i) => (i * 37) % 30)

describe('exportGguf()', () => {
  // The reader undoes what llama.cpp's converter does: pairs of rotated rows, divisors of frequencies, names.
  it.each(['llama', 'mistral', 'llama3-rope', 'llama-linear', 'llama-yarn', 'llama-bf16'])(
    'exportGguf() of one expert of %s is a file that gives the logits of the artifact',
    async (name) => {
      const artifact = await artifactOf(name, { experts: 1 })
      const out = join(parent(), 'model.gguf')
      expect(await exportGguf({ artifact: artifact.folder, out, weights: 'exact' })).toMatchObject({
        experts: 1,
        weights: 'F16',
      })
      const folder = join(parent(), 'converted')
      await convertGguf(out, folder)
      const model = openModel(folder)
      const session = await createSession(join(artifact.folder, 'model.onnx'), { threads: 1 })
      const expected = await runDecoder(session, model.config, { ids: BigInt64Array.from(ids, BigInt), batch: 1 })
      const { logits } = await forward(model, { data: [ids], B: 1, T: ids.length }, { threads: 1 })
      expect(maxDifference(logits, expected.logits)).toBeLessThan(1e-4)
      const text = 'the quick brown fox and the lazy dog'
      expect(openTokenizer(folder).encode(text)).toEqual(openTokenizer(artifact.folder).encode(text))
      await session.release()
      model.close()
    },
    20_000,
  )

  it('exportGguf() of a mixture has the experts, the router and what llama.cpp asks for', async () => {
    const { folder, weights, routers } = await artifactOf('llama', { experts: 3 })
    const out = join(parent(), 'mixture.gguf')
    const { bytes } = await exportGguf({ artifact: folder, out })
    expect(bytes).toBeGreaterThan(0)
    opened(out, (file) => {
      for (const [layer, { gate, up, down }] of weights.entries()) {
        for (const [name, experts, shape] of [
          ['gate', gate, [3, 144, 64]],
          ['up', up, [3, 144, 64]],
          ['down', down, [3, 64, 144]],
        ] as const) {
          const tensor = `blk.${layer}.ffn_${name}_exps.weight`
          expect(file.get(tensor)).toMatchObject({ shape, kind: { name: 'F16' } })
          const stacked = Float32Array.from(experts.flatMap((W) => [...W]))
          expect(Buffer.from(file.readRowsF32(tensor).buffer).equals(Buffer.from(stacked.buffer))).toBe(true)
        }
        const gates = `blk.${layer}.ffn_gate_inp.weight`
        expect(file.get(gates)).toMatchObject({ shape: [3, 64], kind: { name: 'F32' } })
        expect(file.readRowsF32(gates)).toEqual(routers[layer]!.mlp!.weight)
        expect(file.get(`blk.${layer}.attn_norm.weight`).kind.name).toBe('F32')
      }
      const { metadata } = file
      expect(metadata.get('general.architecture')).toBe('llama')
      expect([metadata.get('llama.expert_count'), metadata.get('llama.expert_used_count')]).toEqual([3, 1])
      expect(metadata.get('tokenizer.ggml.pre')).toBe('gpt-2')
      const tokens = metadata.get('tokenizer.ggml.tokens') as string[]
      expect(tokens).toHaveLength(272)
      expect([tokens[0], tokens[2], tokens.at(-1)]).toEqual(['<s>', 'Ġ', '[PAD271]'])
      const types = metadata.get('tokenizer.ggml.token_type') as number[]
      expect([types[0], types[2], types.at(-1)]).toEqual([3, 1, 5])
      expect(metadata.get('tokenizer.ggml.merges')).toEqual(['t h', 'h e', 'Ġ a'])
      expect([metadata.get('tokenizer.ggml.bos_token_id'), metadata.get('tokenizer.ggml.eos_token_id')]).toEqual([0, 1])
      expect(metadata.get('tokenizer.ggml.add_bos_token')).toBe(false)
    })
  })

  it('compress() without router bias, then exportGguf(): the stacks of the artifact', async () => {
    const at = parent()
    const { model, text } = byteLetterModel('llama', join(at, 'model'))
    const artifact = join(at, 'artifact')
    const few = { experts: 2, tokens: 512, sequenceLength: 16, threads: 1, native: false }
    await compress({ model, text: { paths: [text] }, out: artifact, routerBias: false, ...few })
    const out = join(at, 'mixture.gguf')
    const { sparsity } = await exportGguf({ artifact, out })
    opened(out, (file) => {
      const names = ['gate', 'up', 'down'].flatMap((role) => [0, 1].map((i) => `blk.${i}.ffn_${role}_exps.weight`))
      const numbers = names.flatMap((name) => [...file.readRowsF32(name)])
      expect(numbers.filter((w) => w === 0).length / numbers.length).toBeCloseTo(sparsity, 3)
    })
  }, 60_000)

  it('exportGguf() rounds everything but norms and routers, and keeps the head of an untied model', async () => {
    const { folder, model } = await artifactOf('llama', { experts: 2 })
    const out = join(parent(), 'rounded.gguf')
    await exportGguf({ artifact: folder, out, weights: 'bf16' })
    opened(out, (file) => {
      const kinds = new Set([...file.tensors.values()].map(({ shape, kind }) => `${shape.length > 1} ${kind.name}`))
      expect(kinds).toEqual(new Set(['false F32', 'true BF16', 'true F32']))
      expect(model.config.tied).toBe(!file.tensors.has('output.weight'))
    })
  })

  it('exportGguf() refuses a bias, a file that exists, blocks that do not fit and tokenizers without a name', async () => {
    const out = (): string => join(parent(), 'x.gguf')
    const { folder: biased } = await artifactOf('llama', { experts: 2, bias: true })
    await expect(exportGguf({ artifact: biased, out: out() })).rejects.toThrow(/compress with --no-router-bias$/)
    const { folder } = await artifactOf('llama', { experts: 2 })
    const there = out()
    writeFileSync(there, '')
    await expect(exportGguf({ artifact: folder, out: there })).rejects.toThrow(UsageError)
    const odd = out()
    await expect(exportGguf({ artifact: folder, out: odd, weights: 'q8_0' })).rejects.toThrow(
      /rows of "blk.0.ffn_down_exps.weight" have 144 numbers.*use --weights f16/,
    )
    expect(existsSync(odd)).toBe(false)
    const { folder: window } = await artifactOf('mistral-window', { experts: 2 })
    await expect(exportGguf({ artifact: window, out: out() })).rejects.toThrow(
      /a window of 8 keys, which gguf cannot express/,
    )
    const at = parent()
    const { model } = byteLetterModel('llama', join(at, 'model'))
    writeFileSync(
      join(model, 'tokenizer.json'),
      JSON.stringify({ model: { type: 'BPE', vocab: { a: 0 }, merges: [] }, pre_tokenizer: { type: 'Whitespace' } }),
    )
    const { folder: other } = await randomArtifact({ model, parent: at, experts: 2, sparsity: 0.5, bias: false })
    await expect(exportGguf({ artifact: other, out: out() })).rejects.toThrow(UnsupportedError)
    await expect(exportGguf({ artifact: other, out: out() })).rejects.toThrow(/its pre_tokenizer .*Whitespace/)
  })
})
