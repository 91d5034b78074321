import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { denseDecoderModel } from '../../export/onnx.ts'
import { decodeModel } from '../../src/formats/onnx/decode.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import type { OpenedModel } from '../../src/model/open.ts'
import { openModel } from '../../src/model/open.ts'
import { forward } from '../../src/pipeline/forward.ts'
import type { Session } from '../../src/runtime/session.ts'
import { createSession } from '../../src/runtime/session.ts'
import type { DecoderFeeds } from '../fixtures/decoder.ts'
import { maxDifference, runDecoder } from '../fixtures/decoder.ts'

const MODELS = readdirSync(fileURLToPath(new URL('../golden/models', import.meta.url)), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
/** Their angles depend on the length of the sequence so far: token by token is another model than all at once. */
const BY_LENGTH = ['llama-dynamic', 'phi3-longrope']
const TOLERANCE = 2e-4 // of the goldens: float32 in another order of summation

const golden = (name: string): string => fileURLToPath(new URL(`../golden/models/${name}`, import.meta.url))

async function open(name: string): Promise<{ model: OpenedModel; session: Session; run: typeof runDecoder }> {
  const model = openModel(golden(name))
  const bytes = encodeModel(denseDecoderModel(model, '0'))
  return { model, session: await createSession(bytes, { threads: 1, folder: model.dataFolder }), run: runDecoder }
}

function goldenTensors(name: string): {
  ids: BigInt64Array
  padded: Required<Pick<DecoderFeeds, 'ids' | 'mask'>>
  logits: Float32Array
  paddedLogits: Float32Array
} {
  const file = openSafetensors(`${golden(name)}/golden.safetensors`)
  const int64 = (tensor: string): BigInt64Array => new BigInt64Array(file.readBytes(tensor).buffer)
  try {
    return {
      ids: int64('input_ids'),
      padded: { ids: int64('input_ids_padded'), mask: int64('attention_mask') },
      logits: file.readF32('logits'),
      paddedLogits: file.readF32('logits_padded'),
    }
  } finally {
    file.close()
  }
}

describe('denseDecoderModel()', () => {
  it.each(['mistral', 'llama'])(
    'keeps to a sliding window as the block-by-block forward does (weights of %s)',
    async (name) => {
      // Head sizes 14 and 16: standard operators and GroupQueryAttention.
      const folder = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
      try {
        cpSync(golden(name), folder, { recursive: true })
        const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>
        const windowed = { ...config, model_type: 'mistral', sliding_window: 5 }
        writeFileSync(join(folder, 'config.json'), JSON.stringify(windowed))
        const { ids, logits } = goldenTensors(name)
        const model = openModel(folder)
        const session = await createSession(encodeModel(denseDecoderModel(model, '0')), { threads: 1, folder })
        const result = await runDecoder(session, model.config, { ids, batch: 2 })
        const expected = await forward(model, { data: ids, B: 2, T: 24 }, { threads: 1 })
        await session.release()
        model.close()
        expect(maxDifference(result.logits, expected.logits)).toBeLessThan(TOLERANCE)
        expect(maxDifference(result.logits, logits)).toBeGreaterThan(0.1)
      } finally {
        rmSync(folder, { recursive: true })
      }
    },
  )
})

describe.each(MODELS)('denseDecoderModel(%s)', (name) => {
  const B = 2
  const T = 24

  it('gives the golden logits', async () => {
    const { model, session, run } = await open(name)
    const { ids, logits } = goldenTensors(name)
    const result = await run(session, model.config, { ids, batch: B })
    expect(maxDifference(result.logits, logits)).toBeLessThan(TOLERANCE)
    await session.release()
  })

  it('gives the golden logits of left-padded rows wherever the mask is 1', async () => {
    const { model, session, run } = await open(name)
    const { padded, paddedLogits } = goldenTensors(name)
    const { logits } = await run(session, model.config, { ...padded, batch: B })
    const vocab = model.config.vocab
    const real = [...padded.mask.keys()].filter((i) => padded.mask[i] === 1n)
    expect(real.length).toBe(2 * T - 8)
    for (const i of real) {
      const row = [i * vocab, (i + 1) * vocab] as const
      expect(maxDifference(logits.subarray(...row), paddedLogits.subarray(...row))).toBeLessThan(TOLERANCE)
    }
    await session.release()
  })

  it.runIf(!BY_LENGTH.includes(name))(
    'gives the same logits token by token, also for right-padded prompts',
    async () => {
      const { model, session, run } = await open(name)
      const { ids, logits } = goldenTensors(name)
      const { vocab } = model.config
      // Row 1 has a prompt of 9 tokens, row 0 of 12; then both go on one token at a time.
      const lengths = [12, 9]
      const prompt = BigInt64Array.from({ length: 24 }, (_, i) => ids[i < 12 ? i : i + 12]!)
      let mask = BigInt64Array.from({ length: 24 }, (_, i) => (i % 12 < lengths[i < 12 ? 0 : 1]! ? 1n : 0n))
      let { present, keys } = await run(session, model.config, { ids: prompt, mask, batch: B })
      for (let step = 0; step < 4; step++) {
        const next = BigInt64Array.from([ids[lengths[0]! + step]!, ids[T + lengths[1]! + step]!])
        mask = BigInt64Array.from([...mask.subarray(0, keys), 1n, ...mask.subarray(keys), 1n])
        const result = await run(session, model.config, { ids: next, mask, batch: B, past: present })
        for (const row of [0, 1]) {
          const at = (row * T + lengths[row]! + step) * vocab
          const got = result.logits.subarray(row * vocab, (row + 1) * vocab)
          expect(maxDifference(got, logits.subarray(at, at + vocab))).toBeLessThan(TOLERANCE)
        }
        ;({ present, keys } = result)
      }
      await session.release()
    },
  )

  it('survives a round trip through bytes', () => {
    const model = openModel(golden(name))
    const graph = denseDecoderModel(model, '0')
    expect(encodeModel(decodeModel(encodeModel(graph)))).toEqual(encodeModel(graph))
    model.close()
  })
})
