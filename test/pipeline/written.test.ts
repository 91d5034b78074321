import { describe, expect, it } from 'vitest'
import { Written } from '../../src/pipeline/written.ts'

describe('Written', () => {
  it('counts rows as done only when they are, for whoever shares its memory', () => {
    const here = new Written()
    const there = new Written(here.buffer)
    let torn = false
    there.write(512, () => {
      torn = here.isTorn
      expect(here.rows).toBe(0)
    })
    expect(torn).toBe(true)
    expect(here.isTorn).toBe(false)
    expect(here.rows).toBe(512)
  })

  it('stays torn when a write ends in the middle', () => {
    const written = new Written()
    written.write(4, () => {})
    expect(() =>
      written.write(8, () => {
        throw new Error('gone')
      }),
    ).toThrow('gone')
    expect(new Written(written.buffer)).toMatchObject({ rows: 4, isTorn: true })
  })
})
