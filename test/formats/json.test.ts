import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { parseStrictJson } from '../../src/formats/json.ts'
import type { JsonValue } from '../../src/formats/json.ts'

/** The same value as JSON.parse gives it. */
function plain(value: JsonValue): unknown {
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(plain)
  if (!(value instanceof Map)) return value
  const object = {}
  for (const [key, item] of value)
    Object.defineProperty(object, key, { value: plain(item), enumerable: true, configurable: true, writable: true })
  return object
}

describe('parseStrictJson()', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(0, 2), (json, indent) => {
        const text = JSON.stringify(JSON.parse(json), null, indent)
        expect(plain(parseStrictJson(text))).toEqual(JSON.parse(text))
      }),
    )
  })

  it('refuses a prefix, and any text that JSON.parse refuses', () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.string({ maxLength: 2 }), (json, at, noise) => {
        const cut = at % (json.length + 1)
        const text = json.slice(0, cut) + noise + json.slice(cut)
        let valid = true
        try {
          JSON.parse(text)
        } catch {
          valid = false
        }
        if (!valid) expect(() => parseStrictJson(text)).toThrow(SyntaxError)
      }),
    )
  })

  it('refuses a repeated key at any depth, however it is escaped', () => {
    expect(() => parseStrictJson('{"a":1,"\\u0061":2}')).toThrow('key "a" appears twice')
    expect(() => parseStrictJson('[{"a":{"b":1,"b":1}}]')).toThrow('key "b" appears twice')
  })

  it('keeps integers exact and tells them from fractions', () => {
    expect(parseStrictJson('[18446744073709551615, -3, 1.0, 1e2, -0]')).toEqual([
      18446744073709551615n,
      -3n,
      1,
      100,
      -0,
    ])
  })

  it('takes __proto__ as a key like any other', () => {
    expect([...(parseStrictJson('{"__proto__":1,"constructor":2}') as Map<string, JsonValue>).keys()]).toEqual([
      '__proto__',
      'constructor',
    ])
  })

  it('refuses lone surrogates and bottomless nesting', () => {
    expect(() => parseStrictJson('"\\ud800"')).toThrow('lone surrogate')
    expect(() => parseStrictJson('['.repeat(100_000))).toThrow('nested deeper')
  })
})
