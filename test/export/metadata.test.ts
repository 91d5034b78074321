import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { METADATA_KEYS, metadataNumber, metadataProps, metadataTable } from '../../export/metadata.ts'

const formats = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8')

describe('metadataTable()', () => {
  it('is the table in docs/formats.md (copy it there when this fails)', () => {
    const between = /<!-- generated from export\/metadata.ts.*?-->\n(.*)\n<!-- end of the generated table -->/s.exec(
      formats,
    )
    expect(between?.[1]).toBe(metadataTable())
  })
})

describe('METADATA_KEYS', () => {
  it('has each key once per place, all in our namespace', () => {
    const places = METADATA_KEYS.map(({ key, place }) => `${key} on ${place}`)
    expect(new Set(places).size).toBe(places.length)
    for (const { key } of METADATA_KEYS) expect(key).toMatch(/^spexpand\.[a-z_0-9.]+$/)
  })
})

describe('metadataNumber()', () => {
  it('keeps six digits and no more', () => {
    expect(metadataNumber(0.70000004)).toBe('0.7')
    expect(metadataNumber(1 / 3)).toBe('0.333333')
    expect(metadataNumber(0)).toBe('0')
  })
})

describe('metadataProps()', () => {
  it('sorts by key', () => {
    expect(metadataProps({ b: '2', a: '1' })).toEqual([
      { key: 'a', value: '1' },
      { key: 'b', value: '2' },
    ])
  })
})
