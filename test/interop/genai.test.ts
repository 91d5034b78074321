import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { exportGenai } from '../../src/pipeline/convert/genai.ts'
import { openDecoder } from '../../src/pipeline/open-decoder.ts'
import { stopTokens } from '../../src/pipeline/stop-tokens.ts'
import { nativeStatus } from '../../src/runtime/native.ts'
import type { Provider } from '../../src/runtime/session.ts'
import { createDecoder } from '../../src/verify/decoder.ts'
import { generateTokens } from '../../src/verify/generate.ts'
import { sampleToken } from '../../src/verify/sample.ts'
import { addLetters } from '../fixtures/letters.ts'
import type { RandomArtifactOptions } from '../fixtures/randomArtifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

/** A python that has onnxruntime-genai; CI sets it. */
const PYTHON = process.env['SPEXPAND_PYTHON']
const SCRIPT = fileURLToPath(new URL('check_genai.py', import.meta.url))
const hasGenai = PYTHON !== undefined && spawnSync(PYTHON, ['-c', 'import onnxruntime_genai']).status === 0
if (!hasGenai) console.log('SKIPPED test/interop/genai: SPEXPAND_PYTHON names no python with onnxruntime-genai')
const native = nativeStatus()
const hasLibrary = native.found && native.operatorsPath !== undefined
if (!hasLibrary) console.log('SKIPPED test/interop/genai, native part: no operator library (npm run build:native)')

const parent = mkdtempSync(join(tmpdir(), 'spexpand-genai-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))

type Case = { readonly pieces: readonly (readonly number[])[]; readonly new: number; readonly text?: string }
type Answer = { readonly type: string; readonly ids: number[]; readonly encoded?: number[]; readonly decoded?: string }

function genai(folder: string, cases: readonly Case[]): Answer[] {
  const file = join(parent, 'cases.json')
  writeFileSync(file, JSON.stringify(cases))
  return JSON.parse(execFileSync(PYTHON!, [SCRIPT, folder, file], { encoding: 'utf8' })) as Answer[]
}

function mostLikely(logits: Float32Array): number {
  return sampleToken(logits, { temperature: 0, topK: 0, topP: 1 }, () => 0)
}

/** What `spexpand generate` makes of a case; it leaves the token that ends a text out, genai does not. */
async function ours(folder: string, cases: readonly Case[], provider: Provider): Promise<number[][]> {
  const decoder = await createDecoder({ ...openDecoder(folder), threads: 1, provider })
  const answers: number[][] = []
  const stopIds = stopTokens(folder, openTokenizer(folder))
  for (const { pieces, new: maxNewTokens } of cases) {
    const promptIds = pieces.flat()
    const made = await generateTokens(decoder, {
      promptIds,
      maxNewTokens,
      stopIds: [],
      choose: mostLikely,
      now: () => 0,
    })
    const end = made.ids.findIndex((id) => stopIds.includes(id))
    answers.push(made.ids.slice(0, end < 0 ? maxNewTokens : end + 1))
  }
  await decoder.release()
  return answers
}

let folders = 0
async function artifact(options: Omit<RandomArtifactOptions, 'parent'>): Promise<string> {
  return (await randomArtifact({ ...options, parent: join(parent, String(folders++)) })).folder
}

const FORMS: readonly (readonly ['portable' | 'native', Provider])[] = [
  ['portable', 'cpu'],
  ...(hasLibrary ? [['native', 'spexpand'] as const] : []),
]
const TEXTS = [
  'And it came to pass',
  'In the beginning God created the heaven and the earth.',
  'It was the best of times, ',
]

describe.skipIf(!hasGenai)('exportGenai() for onnxruntime-genai', () => {
  it.each(FORMS)(
    'the demo mixture, %s: same token ids from text, same greedy tokens, same text as generate',
    async (form, provider) => {
      const folder = await artifact({ model: demoModelFolder(), experts: 2, sparsity: 0.3, stockBody: 'fold' })
      const out = join(parent, `demo-${form}`)
      expect(exportGenai({ artifact: folder, out, native: form === 'native' })).toMatchObject({ operators: form })
      const tokenizer = openTokenizer(folder)
      const cases = TEXTS.map((text) => ({ text, pieces: [tokenizer.encodePrompt(text)], new: 16 }))
      const answers = genai(out, cases)
      expect(answers.map(({ encoded }) => encoded)).toEqual(cases.map(({ pieces }) => pieces[0]))
      expect(answers.map(({ ids }) => ids)).toEqual(await ours(folder, cases, provider))
      expect(answers.map(({ decoded }) => decoded)).toEqual(answers.map(({ ids }) => tokenizer.decode(ids)))
      expect(new Set(answers.flatMap(({ ids }) => ids)).size).toBeGreaterThan(10)
    },
    120_000,
  )

  // A type of its own, none, windows, and a rotary embedding that depends on the length.
  it.each(['qwen3', 'olmo2', 'mistral-window', 'llama-dynamic'])(
    '%s: same greedy tokens, prompts in one piece and in several',
    async (model) => {
      const folder = await artifact({ model, experts: 3, sparsity: 0.5 })
      addLetters(folder, { characters: 1 })
      const out = join(parent, `of-${model}`)
      const { type } = exportGenai({ artifact: folder, out, native: false })
      const ids = Array.from({ length: 9 }, (_, i) => 3 + ((i * 37) % 80))
      const cases = [
        { pieces: [ids], new: 12 },
        { pieces: [ids.slice(0, 4), ids.slice(4)], new: 12 },
      ]
      const answers = genai(out, cases)
      expect(answers.map((answer) => answer.type)).toEqual([type, type])
      expect(answers.map((answer) => answer.ids)).toEqual(await ours(folder, cases, 'cpu'))
    },
    60_000,
  )
})
