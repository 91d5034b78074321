import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'
import { generate } from '../../src/pipeline/generate.ts'
import { predictHireFiles } from '../../src/pipeline/predict/hire-files.ts'

/** A python with onnxruntime; CI sets it. */
const PYTHON = process.env['SPEXPAND_PYTHON']
const SCRIPT = fileURLToPath(new URL('../../docs/examples/hire.py', import.meta.url))
if (!PYTHON) console.log('SKIPPED test/interop/hire: SPEXPAND_PYTHON names no python with onnxruntime')

it.skipIf(!PYTHON)(
  'docs/examples/hire.py runs hire.onnx in stock onnxruntime and gives the tokens of generate({ hire: true })',
  { timeout: 240_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spexpand-hire-py-'))
    try {
      const out = join(folder, 'hire')
      const small = { tokens: 512, choosingTokens: 128, windows: 2, sequenceLength: 32, threads: 1 }
      await predictHireFiles({ ...small, kind: 'q', recall: 0.95, out })
      const prompt = 'Call me Ishmael. Some years ago, never mind how long'
      const { ids } = await generate({ model: out, hire: true, prompt, maxNewTokens: 10, threads: 1, provider: 'cpu' })
      const promptIds = [...openTokenizer(out).encodePrompt(prompt)].map(String)
      const printed = execFileSync(PYTHON!, [SCRIPT, out, '--new', String(ids.length), '--ids', ...promptIds])
      expect(JSON.parse(printed.toString())).toEqual({ ids, layers: 8, softmax: true })
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)

it.skipIf(!PYTHON)(
  'docs/examples/hire.py runs the softmax of an artifact of experts in stock onnxruntime, tokens as of generate()',
  { timeout: 240_000 },
  async () => {
    const { folder } = await randomArtifact({ model: demoModelFolder(), experts: 3, sparsity: 0.4 })
    try {
      const small = { tokens: 256, choosingTokens: 128, windows: 2, sequenceLength: 32, threads: 1 }
      await predictHireFiles({ ...small, kind: 'q', model: folder, recall: 0.95 })
      const prompt = 'Call me Ishmael. Some years ago'
      const { ids } = await generate({
        model: folder,
        hire: true,
        prompt,
        maxNewTokens: 6,
        threads: 1,
        provider: 'cpu',
      })
      const promptIds = [...openTokenizer(folder).encodePrompt(prompt)].map(String)
      const printed = execFileSync(PYTHON!, [SCRIPT, folder, '--new', String(ids.length), '--ids', ...promptIds])
      expect(JSON.parse(printed.toString())).toEqual({ ids, layers: 0, softmax: true })
    } finally {
      rmSync(join(folder, '..'), { recursive: true })
    }
  },
)
