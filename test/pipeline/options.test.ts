import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { resolveOptions } from '../../src/pipeline/options.ts'
import type { CompressOptions } from '../../src/pipeline/types.ts'

describe('resolveOptions() values', () => {
  it.each([
    [{}, { type: 'f16' }],
    [{ values: 'bf16' }, { type: 'bf16' }],
    [{ values: 'int8' }, { type: 'int8', groupSize: 0 }],
    [{ values: 'int4' }, { type: 'int4', groupSize: 128 }],
    [
      { values: 'int8', groupSize: 64 },
      { type: 'int8', groupSize: 64 },
    ],
    [
      { values: 'int4', groupSize: 0 },
      { type: 'int4', groupSize: 0 },
    ],
  ] as const)('%j are %j', (options, values) => {
    expect(resolveOptions(options).values).toEqual(values)
  })

  it.each([
    [{ values: 'fp8' as 'f16' }, /Unknown values 'fp8': use one of f16, bf16, int8, int4/],
    [{ groupSize: 32 }, /--group-size 32 with --values f16: only int8 and int4 have scales/],
    [{ values: 'bf16', groupSize: 0 }, /only int8 and int4/],
    [{ values: 'int4', groupSize: 48 }, /--group-size 48: wanted one of 0, 32, 64, 128/],
  ] as [Partial<CompressOptions>, RegExp][])('%j are refused', (options, message) => {
    expect(() => resolveOptions(options)).toThrow(message)
    expect(() => resolveOptions(options)).toThrow(UsageError)
  })
})
