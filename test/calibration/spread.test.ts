import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Document } from '../../calibration/corpus.ts'
import { spreadText } from '../../calibration/spread.ts'

const PIECE = 16_384

async function spread(documents: readonly Document[], limit: number): Promise<{ isPart: boolean; pieces: Document[] }> {
  const text = await spreadText(async function* () {
    yield* documents
  }, limit)
  const pieces: Document[] = []
  for await (const piece of text.documents) pieces.push(piece)
  return { isPart: text.isPart, pieces }
}

const document = (text: string, domain = 'd', continues = false): Document => ({ text, domain, continues })

it('spreadText() gives a text within the limit as it is', async () => {
  const documents = [document('abc'), document('def', 'e'), document('ghi', 'e', true)]
  expect(await spread(documents, 9)).toEqual({ isPart: false, pieces: documents })
})

it('spreadText() takes pieces at equal distances, across documents, and never more than the limit', async () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 3 * PIECE }), { minLength: 1, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 1, max: 6 * PIECE }), async (sizes, limit) => {
      // Every character tells its place in the text.
      let at = 0
      const documents = sizes.map((size) =>
        document(Array.from({ length: size }, () => String.fromCharCode(0x100 + (at++ % 40_000))).join('')),
      )
      const whole = documents.map(({ text }) => text).join('')
      const { isPart, pieces } = await spread(documents, limit)
      expect(isPart).toBe(whole.length > limit)
      if (!isPart) return
      const count = Math.max(1, Math.floor(limit / PIECE))
      const wanted = Array.from({ length: count }, (_, j) => {
        const from = Math.floor((j * whole.length) / count)
        return whole.slice(from, from + Math.min(PIECE, limit))
      }).join('')
      expect(pieces.map(({ text }) => text).join('')).toBe(wanted)
      expect(wanted.length).toBeLessThanOrEqual(limit)
      expect(pieces.every(({ text }) => text.length > 0)).toBe(true)
    }),
    { numRuns: 60 },
  )
})

it('spreadText() keeps domains, and joins a document that is continued only inside a piece', async () => {
  const long = 'x'.repeat(PIECE)
  const documents = [document('ab', 'p'), document('cd', 'p', true), document(long, 'q'), document(long, 'r')]
  const { pieces } = await spread(documents, PIECE)
  expect(pieces.map(({ domain, continues, text }) => [domain, continues, text.length])).toEqual([
    ['p', false, 2],
    ['p', true, 2],
    ['q', false, PIECE - 4],
  ])
})

it('spreadText() cuts no character in two', async () => {
  const { pieces } = await spread([document('😀'.repeat(PIECE))], PIECE + 1)
  expect(pieces.map(({ text }) => text).join('')).toMatch(/^(😀)+$/u)
})
