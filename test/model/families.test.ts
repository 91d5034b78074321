import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { UnsupportedError } from '../../src/errors.ts'
import { FAMILIES, familyOf } from '../../src/model/families.ts'
import type { Family } from '../../src/model/families.ts'

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/families.md'), 'utf8')

describe('docs/families.md', () => {
  it.each(FAMILIES.map((family) => [family.modelType, family] as const))(
    'names %s and its keys',
    (modelType, family) => {
      const forms: Family[] = [family, ...family.variants.map(({ change }) => ({ ...family, ...change }))]
      const keys = forms.flatMap(({ keys: names, switches, only, sameAsHidden = [] }) => [
        ...Object.values(names),
        ...Object.keys(switches),
        ...Object.keys(only),
        ...sameAsHidden,
      ])
      const missing = [...new Set(keys)].filter((key) => key !== '' && !PAGE.includes(`\`${key}\``))
      expect(missing).toEqual([])
      expect(PAGE).toContain(`| \`${modelType}\` |`)
    },
  )
})

const falcon = (json: object): Family => familyOf({ model_type: 'falcon', ...json }, 'config.json')

describe('familyOf()', () => {
  it('follows the switches of a file to the variant they ask for', () => {
    expect(falcon({})).toMatchObject({ parallel: true, defaults: { kvHeads: 1 } })
    expect(falcon({ multi_query: false })).toMatchObject({ parallel: true, defaults: { kvHeads: null } })
    expect(falcon({ parallel_attn: false }).parallel).toBe(false)
    const wide = falcon({ new_decoder_architecture: true })
    expect(wide.tensors.ffnNorm).toBe('transformer.h.{i}.ln_mlp')
    expect(falcon({ new_decoder_architecture: true, num_ln_in_parallel_attn: 1 }).tensors.ffnNorm).toBe(
      wide.tensors.attentionNorm!.replace('ln_attn', 'input_layernorm'),
    )
    expect(() => falcon({ new_decoder_architecture: true, parallel_attn: false })).toThrow(UnsupportedError)
    expect(() => falcon({ alibi: true })).toThrow(/alibi is true, supported is false/)
  })
})
