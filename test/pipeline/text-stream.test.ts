import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { demoModelFolder } from '../../calibration/bundled.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { textStream } from '../../src/pipeline/text-stream.ts'

const tokenizer = openTokenizer(demoModelFolder())

/** What is heard of a text's tokens, one after the other, and what end() says. */
function streamed(text: string, stops: readonly string[]): { readonly pieces: string[]; readonly whole: string } {
  const pieces: string[] = []
  const prompt = tokenizer.encode('And so')
  const stream = textStream(tokenizer, prompt, stops, (piece) => pieces.push(piece))
  for (const id of tokenizer.encode(`And so${text}`).slice(prompt.length)) {
    if (stream.isStopped) break
    stream.push(id)
  }
  return { pieces, whole: stream.end() }
}

/** The definition: everything in front of the first stop string. */
function cut(text: string, stops: readonly string[]): string {
  return text.slice(0, Math.min(text.length, ...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)))
}

describe('textStream()', () => {
  it('tells whole characters as they come', () => {
    const { pieces, whole } = streamed(' it is 你好, 🙂 he said', [])
    expect(whole).toBe(' it is 你好, 🙂 he said')
    expect(pieces.join('')).toBe(whole)
    expect(pieces.join('|')).not.toContain('\uFFFD')
    expect(pieces.length).toBeGreaterThan(5)
  })

  it('ends in front of the first stop string, wherever the tokens are cut, and never tells a part of it', () => {
    const text = ' one, two, three. And four\n\nUser: five'
    expect(streamed(text, ['\n\nUser:']).whole).toBe(' one, two, three. And four')
    expect(streamed(text, ['four', 'three.']).whole).toBe(' one, two, ')
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', ' '), maxLength: 24 })
    const stop = fc.string({ unit: fc.constantFrom('a', 'b', ' '), minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(letters, fc.array(stop, { maxLength: 3 }), (random, stops) => {
        const said = ` x${random}`
        const { pieces, whole } = streamed(said, stops)
        expect(whole).toBe(cut(said, stops))
        expect(pieces.join('')).toBe(whole)
      }),
    )
  })

  it('tells what only looked like the begin of a stop string, at the end at the latest', () => {
    expect(streamed(' so it was##', ['###'])).toMatchObject({ whole: ' so it was##' })
    expect(streamed(' ab ab ac', [' ab ac']).whole).toBe(' ab')
  })
})
