import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { generate } from '../../src/pipeline/generate.ts'
import { predict } from '../../src/pipeline/predict/predict.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

/** A python with numpy; CI sets it. */
const PYTHON = process.env['SPEXPAND_PYTHON']
const SCRIPT = fileURLToPath(new URL('../../docs/examples/griffin.py', import.meta.url))
if (!PYTHON) console.log('SKIPPED test/interop/griffin: SPEXPAND_PYTHON names no python with numpy')

it.skipIf(!PYTHON).each(['statistic-down', 'count'] as const)(
  'docs/examples/griffin.py reads griffin.json and gives the tokens of generate() (by %s)',
  { timeout: 120_000 },
  async (scores) => {
    const folder = mkdtempSync(join(tmpdir(), 'spexpand-griffin-py-'))
    try {
      const { file } = await predict({
        windows: 2,
        sequenceLength: 16,
        scores,
        density: 0.3,
        out: folder,
        threads: 1,
      })
      const model = demoModelFolder()
      const prompt = 'Call me Ishmael. Some years ago, never mind how long'
      const result = await generate({
        model,
        prompt,
        griffin: { file: file! },
        maxNewTokens: 10,
        threads: 1,
        provider: 'cpu',
      })
      const ids = [...openTokenizer(model).encodePrompt(prompt)].map(String)
      const printed = execFileSync(PYTHON!, [SCRIPT, model, '--griffin', file!, '--new', '10', '--ids', ...ids])
      expect(JSON.parse(printed.toString())).toEqual(result.ids)
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)

it.skipIf(!PYTHON)(
  'docs/examples/griffin.py reads the metadata of an artifact and gives the tokens of generate()',
  { timeout: 240_000 },
  async () => {
    const { folder } = await randomArtifact({ model: demoModelFolder(), experts: 3, sparsity: 0.4 })
    try {
      const small = { windows: 2, sequenceLength: 16, threads: 1, provider: 'cpu' } as const
      await predict({ ...small, model: folder, density: 0.3, scores: 'statistic-down' })
      const prompt = 'Call me Ishmael. Some years ago'
      const result = await generate({
        model: folder,
        prompt,
        griffin: 'auto',
        maxNewTokens: 6,
        threads: 1,
        provider: 'cpu',
      })
      expect(result.griffin).toMatchObject({ from: 'artifact', scores: 'statistic-down' })
      const ids = [...openTokenizer(folder).encodePrompt(prompt)].map(String)
      const printed = execFileSync(PYTHON!, [SCRIPT, folder, '--new', '6', '--ids', ...ids])
      expect(JSON.parse(printed.toString())).toEqual(result.ids)
    } finally {
      rmSync(join(folder, '..'), { recursive: true })
    }
  },
)
