import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { artifactTargets } from './artifact-targets.ts'
import { fileTargets } from './file-targets.ts'
import { modelTargets } from './model-targets.ts'
import type { Outcome } from './run.ts'
import { fuzz } from './run.ts'
import type { Target } from './target.ts'
import { tinyFolder } from './tiny-model.ts'
import { takeSeen, watch } from './watch.ts'

// In CI few inputs each, always the same; test/fuzz/run.mjs runs many, with other seeds.
const INPUTS = Number(process.env['FUZZ_INPUTS'] ?? 110)
const SEED = Number(process.env['FUZZ_SEED'] ?? 1)
const REPORT = process.env['FUZZ_REPORT']
const ONLY = process.env['FUZZ_TARGET']

const scratch = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'spexpand-fuzz-')))
const tiny = await tinyFolder(scratch)
const targets: readonly Target[] = [
  ...fileTargets(scratch),
  ...modelTargets(scratch, tiny),
  ...(await artifactTargets(scratch, tiny)),
]
const outcomes: Outcome[] = []
let stopWatching: () => void

/** For the case that a reader never comes back: run.mjs kills it then, and says where the file is. */
function keeping(read: Target['read']): Target['read'] {
  if (!REPORT) return read
  const file = fs.openSync(path.join(scratch, 'last-input'), 'w')
  return (bytes, next) => {
    fs.ftruncateSync(file)
    fs.writeSync(file, bytes, 0, bytes.length, 0)
    return read(bytes, next)
  }
}

beforeAll(() => {
  stopWatching = watch()
  // The library of tokenizers tells the console what it does not know.
  vi.spyOn(console, 'warn').mockImplementation(() => undefined)
})
afterAll(() => {
  stopWatching()
  fs.rmSync(scratch, { recursive: true, force: true })
  fs.rmSync(`${scratch}-outside.safetensors`, { force: true })
  if (REPORT) fs.writeFileSync(REPORT, JSON.stringify(outcomes))
})

describe('watch()', () => {
  it('sees what a length claims and what is opened', () => {
    takeSeen()
    expect(() => new Float64Array(2 ** 50)).toThrow(RangeError)
    expect(takeSeen().largestBytes).toBe(2 ** 53)
    fs.readFileSync(import.meta.filename)
    expect(takeSeen().opened).toEqual([import.meta.filename])
  })
})

describe('fuzz()', () => {
  const chosen = targets.filter(({ name }) => ONLY === undefined || ONLY.split('|').includes(name))

  it.each(chosen)(
    '$name: changed files are parsed, or refused by an error of ours',
    { timeout: 3_600_000 },
    async (t) => {
      // Every seed is sound: what the changes are made from can be read.
      for (const { bytes } of t.seeds) await t.read(bytes, () => undefined)
      const outcome = await fuzz({ ...t, read: keeping(t.read) }, INPUTS, SEED, scratch)
      outcomes.push(outcome)
      expect(Object.values(outcome.results).reduce((sum, n) => sum + n, 0)).toBe(INPUTS)
    },
  )
})
