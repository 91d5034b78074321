import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { withString } from '../../src/formats/json-edit.ts'

describe('withString()', () => {
  it('changes one value and no other character', () => {
    const text = '{\n  "cap": 6.0,\n  "inner": {"dtype": "a, }"},\n  "dtype" : "bfloat16",\n  "eps": 1e-05\n}\n'
    expect(withString(text, 'dtype', 'float32')).toBe(text.replace('"bfloat16"', '"float32"'))
    expect(withString('{"a": {"b": [1.0]}}', 'a', 'x')).toBe('{"a": "x"\n}')
  })

  it('adds a key that is not there', () => {
    expect(withString('{ "cap": 6.0 }', 'dtype', 'float32')).toBe('{\n  "dtype": "float32", "cap": 6.0 }')
    expect(JSON.parse(withString('{}', 'dtype', 'float32'))).toEqual({ dtype: 'float32' })
  })

  it('does to the text of any object what setting the key does to the object', () => {
    const key = fc.constantFrom('a', 'b', '"', '\\')
    const object = fc.dictionary(key, fc.jsonValue())
    fc.assert(
      fc.property(object, key, fc.string(), fc.constantFrom(0, 2), (given, name, value, indent) => {
        const text = JSON.stringify(given, undefined, indent)
        expect(JSON.parse(withString(text, name, value))).toEqual(
          JSON.parse(JSON.stringify({ ...given, [name]: value })),
        )
      }),
    )
  })
})
