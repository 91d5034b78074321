import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { calibrationCorpus, demoModelFolder, evaluationCorpus } from '../../calibration/bundled.ts'
import type { Document } from '../../calibration/corpus.ts'
import type { TokenStream } from '../../calibration/stream.ts'
import { tokenStream } from '../../calibration/stream.ts'
import {
  calibrationWindows,
  evaluationWindows,
  readCalibrationWindows,
  readEvaluationWindows,
  textLimit,
} from '../../calibration/windows.ts'
import { FormatError, UsageError } from '../../src/errors.ts'

const encode = (text: string): number[] => Array.from(text, (character) => character.codePointAt(0)!)
const document = (text: string, domain = 'd', continues = false): Document => ({ text, domain, continues })

/** A stream whose token i is i, in two domains by halves. */
function counting(length: number): TokenStream {
  return {
    ids: Int32Array.from({ length }, (_, i) => i),
    domains: Uint16Array.from({ length }, (_, i) => (i < length / 2 ? 0 : 1)),
    domainNames: ['a', 'b'],
    documents: 2,
    emptyDocuments: 0,
    truncated: false,
  }
}

function calibrate(length: number): unknown {
  return calibrationWindows(counting(length), { tokens: 320, sequenceLength: 32 })
}

function textOf(line: string): string {
  return (JSON.parse(line) as { text: string }).text
}

function texts(path: string): string[] {
  return readFileSync(path, 'utf8').trim().split('\n').map(textOf)
}

describe('tokenStream()', () => {
  const options = { encode, separatorId: 0, maxTokens: 100 }

  it('tokenStream() puts the separator before every document and sorts the domains', async () => {
    const stream = await tokenStream([document('AB', 'z'), document(' \n', 'y'), document('C', 'b')], options)
    expect([...stream.ids]).toEqual([0, 65, 66, 0, 67])
    expect(stream.domainNames).toEqual(['b', 'z'])
    expect([...stream.domains]).toEqual([1, 1, 1, 0, 0])
    expect(stream).toMatchObject({ documents: 2, emptyDocuments: 1, truncated: false })
  })

  it('tokenStream() puts no separator inside a document that comes in pieces', async () => {
    const stream = await tokenStream([document('AB'), document('C', 'd', true), document('D')], options)
    expect([...stream.ids]).toEqual([0, 65, 66, 67, 0, 68])
    expect(stream.documents).toBe(2)
  })

  it('tokenStream() stops at maxTokens, asks for no further document, and says so', async () => {
    let asked = 0
    const endless = (function* () {
      for (;;) {
        asked++
        yield document('ABC')
      }
    })()
    const stream = await tokenStream(endless, { ...options, maxTokens: 10 })
    expect([...stream.ids]).toEqual([0, 65, 66, 67, 0, 65, 66, 67, 0, 65])
    expect(stream.truncated).toBe(true)
    expect(asked).toBe(4)
  })

  it('tokenStream() does not call a text truncated that just fits', async () => {
    const stream = await tokenStream([document('ABC')], { ...options, maxTokens: 4 })
    expect(stream.truncated).toBe(false)
    expect((await tokenStream([document('ABCD')], { ...options, maxTokens: 4 })).truncated).toBe(true)
  })
})

describe('calibrationWindows()', () => {
  it('calibrationWindows() cuts seeded windows out of the stream', () => {
    const stream = counting(1000)
    const windows = calibrationWindows(stream, { tokens: 330, sequenceLength: 32, seed: 1 })
    expect(windows).toMatchObject({ nWindows: 10, sequenceLength: 32, streamTokens: 1000 })
    expect(windows.ids.length).toBe(320)
    for (let w = 0; w < 10; w++) {
      const start = windows.ids[w * 32]!
      expect(start).toBeLessThan(1000 - 32)
      for (let i = 0; i < 32; i++) {
        expect(windows.ids[w * 32 + i]).toBe(start + i)
        expect(windows.domains[w * 32 + i]).toBe(start + i < 500 ? 0 : 1)
      }
    }
    const starts = (seed: number): string =>
      calibrationWindows(stream, { tokens: 320, sequenceLength: 32, seed }).ids.join()
    expect(starts(1)).toBe(windows.ids.join())
    expect(starts(2)).not.toBe(windows.ids.join())
  })

  it('calibrationWindows() refuses too little text, naming what there is, what is wanted and what would do', () => {
    expect(() => calibrate(319)).toThrow(FormatError)
    expect(() => calibrate(319)).toThrow(
      'got 319 tokens in 2 documents, wanted at least 320 (10 windows of 32): add text, or lower --tokens to 288',
    )
    expect(() => calibrate(20)).toThrow('lower --sequence-length')
    expect(() => calibrationWindows(counting(32), { tokens: 32, sequenceLength: 32 })).toThrow('at least 33')
    expect(() => calibrationWindows(counting(99), { tokens: 31, sequenceLength: 32 })).toThrow(UsageError)
    expect(() => calibrationWindows(counting(99), { tokens: 32, sequenceLength: 0 })).toThrow(UsageError)
  })
})

describe('evaluationWindows()', () => {
  it('evaluationWindows() are evenly spaced, do not overlap and begin at whole windows', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 30 }),
        (T, length, wanted) => {
          fc.pre(length >= T)
          const whole = Math.floor(length / T)
          const windows = evaluationWindows(counting(length), { windows: wanted, sequenceLength: T })
          const n = Math.min(wanted, whole)
          expect(windows.nWindows).toBe(n)
          const starts = Array.from({ length: n }, (_, i) => windows.ids[i * T]!)
          expect(starts).toEqual(
            Array.from({ length: n }, (_, i) => Number((BigInt(i) * BigInt(whole)) / BigInt(n)) * T),
          )
          expect(new Set(starts).size).toBe(n)
        },
      ),
    )
  })

  it('evaluationWindows() refuses text shorter than a window', () => {
    expect(() => evaluationWindows(counting(9), { windows: 1, sequenceLength: 10 })).toThrow(FormatError)
    expect(() => evaluationWindows(counting(9), { windows: 0, sequenceLength: 3 })).toThrow(UsageError)
  })
})

describe('bundled texts', () => {
  const folder = demoModelFolder()
  const json = (name: string): object => JSON.parse(readFileSync(join(folder, name), 'utf8')) as object
  const tokenizer = new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json'))
  const encoding = {
    encode: (text: string): number[] => tokenizer.encode(text, { add_special_tokens: false }).ids,
    separatorId: 0,
  }
  const five = ['factbook', 'jargon', 'kjv', 'moby', 'sotu']

  it('readCalibrationWindows() finds the default tokens twice over in the bundled text, all domains alike', async () => {
    const windows = await readCalibrationWindows([calibrationCorpus()], {
      ...encoding,
      tokens: 131_072,
      sequenceLength: 256,
    })
    expect(windows).toMatchObject({ nWindows: 512, domainNames: five, truncated: false, emptyDocuments: 0 })
    expect(windows.streamTokens).toBeGreaterThan(300_000)
    const counts = new Int32Array(5)
    for (const domain of windows.domains) counts[domain]!++
    // Shares of the bytes are equal; tokens per byte differ by domain, and 512 windows are a sample.
    for (const count of counts) expect(count / windows.domains.length).toBeGreaterThan(0.1)
  })

  it('readEvaluationWindows() fills 256 windows of 256 tokens of the bundled evaluation text', async () => {
    const windows = await readEvaluationWindows([evaluationCorpus()], {
      ...encoding,
      windows: 256,
      sequenceLength: 256,
    })
    expect(windows).toMatchObject({ nWindows: 256, domainNames: five, truncated: false })
  })

  it('bundled texts share no document and are the ones of corpora/PROVENANCE.md', () => {
    const calibration = new Set(texts(calibrationCorpus()))
    expect(texts(evaluationCorpus()).filter((text) => calibration.has(text))).toEqual([])
    const provenance = readFileSync(join(folder, '../corpora/PROVENANCE.md'), 'utf8')
    for (const path of [calibrationCorpus(), evaluationCorpus()])
      expect(provenance).toContain(createHash('sha256').update(readFileSync(path)).digest('hex'))
  })

  it('demoModelFolder() holds a whole model', () => {
    for (const name of ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json'])
      expect(existsSync(join(folder, name))).toBe(true)
  })
})

describe('textLimit()', () => {
  it('textLimit() is 256 characters a token, at least four million', () => {
    expect(textLimit(131_072)).toBe(33_554_432)
    expect(textLimit(256)).toBe(4_194_304)
  })
})

it('readCalibrationWindows() draws from all of a text that is too long to be read as a whole', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spexpand-windows-'))
  try {
    const path = join(folder, 'sorted.jsonl')
    // Five domains one after the other, a megabyte each: more than textLimit() of so few tokens.
    const lines = ['a', 'b', 'c', 'd', 'e'].flatMap((domain) =>
      Array.from({ length: 10 }, () => JSON.stringify({ domain, text: domain.repeat(100_000) })),
    )
    writeFileSync(path, `${lines.join('\n')}\n`)
    const options = { encode, separatorId: 0, tokens: 16_000, sequenceLength: 32 }
    const windows = await readCalibrationWindows([path], options)
    expect(windows.truncated).toBe(true)
    expect(windows.streamTokens).toBeLessThan(textLimit(16_000) * 1.01)
    const counts = new Int32Array(5)
    for (const domain of windows.domains) counts[domain]!++
    for (const count of counts) expect(count / 16_000).toBeGreaterThan(0.15)
    const stdin = (async function* () {
      yield readFileSync(path)
    })()
    expect(await readCalibrationWindows(['-'], { ...options, stdin })).toEqual(windows)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
