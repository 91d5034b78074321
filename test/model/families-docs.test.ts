import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Family } from '../../src/model/families.ts'
import { FAMILIES } from '../../src/model/families.ts'

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/families.md'), 'utf8')

/** What stands in `code` in a text. */
const words = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, word]) => word!)

/** Text of the section under a heading, up to the next one. */
function section(heading: string): string {
  const [, after] = PAGE.split(`## ${heading}\n`)
  return after!.split('\n## ')[0]!
}

/** What the table of a section says of a family: the rest of the rows whose first cell names it. */
function rows(heading: string): Map<string, string> {
  const table = section(heading)
    .split('\n')
    .filter((line) => line.startsWith('|'))
  const found = new Map<string, string>()
  for (const line of table) {
    const [, first, ...rest] = line.split('|')
    for (const name of words(first!)) found.set(name, `${found.get(name) ?? ''}${rest.join('|')}`)
  }
  return found
}

const HONOURED = rows('Keys of config.json that are honoured')
const REFUSED = rows('Keys that are refused')
/** What the text around the table says of every family. */
const COMMON = words(
  section('Keys of config.json that are honoured')
    .split('\n')
    .filter((line) => !line.startsWith('|'))
    .join('\n'),
)

/** Words of a row, with those of the row that it refers to ('as llama'). */
function honoured(name: string): string[] {
  const row = HONOURED.get(name) ?? ''
  const base = /as (\w+)/.exec(row)?.[1]
  return [...words(row), ...(base === undefined ? [] : honoured(base))]
}

/** The family and what its switches make of it. */
const forms = (family: Family): Partial<Family>[] => [family, ...family.variants.map(({ change }) => change)]

/** Every key of config.json that the table of a family reads. */
function keysOf(family: Family): string[] {
  const SLIDING: Readonly<Record<string, readonly string[]>> = {
    'max-window-layers': ['max_window_layers', 'layer_types'],
    'no-rope-layers': ['layer_types'],
    interval: ['layer_types'],
  }
  const keys = forms(family).flatMap(({ keys: named, sliding, rope, noRope }) => [
    ...Object.values(named ?? {}),
    ...(SLIDING[sliding?.kind ?? ''] ?? []),
    sliding?.kind === 'interval' ? (sliding.key ?? '') : '',
    rope?.thetaKey ?? '',
    rope?.shareKey ?? '',
    rope?.local?.key ?? '',
    rope?.share === undefined ? '' : 'partial_rotary_factor',
    ...(noRope ? ['no_rope_layers', 'no_rope_layer_interval'] : []),
  ])
  return [...keys, ...Object.keys(family.switches)].filter(Boolean)
}

describe('docs/families.md', () => {
  it.each(FAMILIES.map((family) => [family.modelType, family] as const))(
    '%s: names the family, every key that is honoured, and every one that is refused',
    (name, family) => {
      expect(words(PAGE.split('\n## ')[0]!)).toContain(name)
      const told = [...honoured(name), ...COMMON]
      expect(keysOf(family).filter((key) => !told.includes(key))).toEqual([])
      const refused = words(REFUSED.get(name) ?? '')
      const limited = forms(family).flatMap(({ only, sameAsHidden }) => [
        ...Object.keys(only ?? {}),
        ...(sameAsHidden ?? []),
      ])
      expect(limited.filter((key) => !refused.includes(key))).toEqual([])
    },
  )

  it('names no key of a family that the family does not read', () => {
    const extra = FAMILIES.flatMap((family) =>
      words(HONOURED.get(family.modelType) ?? '')
        .filter((key) => ![...keysOf(family), ...COMMON].includes(key))
        .map((key) => `${family.modelType}: ${key}`),
    )
    expect(extra).toEqual([])
  })
})
