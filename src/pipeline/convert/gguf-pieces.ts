import { z } from 'zod'
import { impliedMerges } from '../../model/gguf-merges.ts'

/** Kinds of tokens (llama.h, enum llama_token_type). */
const [NORMAL, UNKNOWN, BYTE] = [1, 2, 6]

const step = z.object({ type: z.string() }).catchall(z.unknown())

/**
 * Whether a tokenizer of the SentencePiece kind puts a space in front of a text; undefined where its normalizer and
 * pre_tokenizer are none that llama.cpp's kind 'llama' does: spaces become '▁', nothing else.
 */
export function spacePrefix(normalizer: unknown, preTokenizer: unknown): boolean | undefined {
  const steps = [...flat(normalizer, 'normalizers'), ...flat(preTokenizer, 'pretokenizers')].map(kindOf)
  switch (steps.join()) {
    case 'prefix,spaces':
    case 'metaspace':
      return true
    case 'spaces':
    case 'metaspace without prefix':
      return false
    default:
      return undefined
  }
}

/**
 * Scores by id that make llama.cpp, which merges the pair whose union scores highest, do what the list of merges says:
 * minus the place of the first merge that makes a token. Undefined where no scores do: when merges of different tokens
 * alternate, or a pair whose union is a plain token is not in the list.
 */
export function scoresOf(
  tokens: readonly string[],
  types: readonly number[],
  merges: readonly (readonly [string, string])[],
): readonly number[] | undefined {
  const first = new Map<string, number>()
  let last = 0
  for (const [rank, [left, right]] of merges.entries()) {
    const place = first.get(left + right) ?? rank
    if (place < last) return undefined
    last = place
    first.set(left + right, place)
  }
  const scores = tokens.map((token) => -(first.get(token) ?? merges.length))
  const listed = new Set(merges.map(([left, right]) => `${left} ${right}`))
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const isPlain = (token: string): boolean => types[ids.get(token)!] === NORMAL
  const isMissing = ([left, right]: readonly [string, string]): boolean =>
    isPlain(left + right) && isPlain(left) && isPlain(right) && !listed.has(`${left} ${right}`)
  return impliedMerges(tokens, scores).some(isMissing) ? undefined : scores
}

/** Types of the tokens that a vocabulary has besides plain ones: bytes, and the one for what is unknown. */
export function pieceTypes(
  tokens: readonly string[],
  types: readonly number[],
  unknown: string | null | undefined,
): number[] {
  return tokens.map((token, id) => {
    if (token === unknown) return UNKNOWN!
    return types[id] === NORMAL && /^<0x[0-9A-F]{2}>$/.test(token) ? BYTE! : types[id]!
  })
}

function flat(part: unknown, list: string): unknown[] {
  if (part === null || part === undefined) return []
  const { type, ...rest } = step.parse(part)
  return type === 'Sequence' ? (rest[list] as unknown[]).flatMap((one) => flat(one, list)) : [part]
}

function kindOf(part: unknown): string {
  const { type, ...rest } = step.parse(part)
  if (type === 'Prepend' && rest['prepend'] === '▁') return 'prefix'
  const pattern = (rest['pattern'] as { String?: unknown } | undefined)?.String
  if (type === 'Replace' && pattern === ' ' && rest['content'] === '▁') return 'spaces'
  if (type === 'Metaspace' && rest['replacement'] === '▁' && rest['split'] === false)
    return rest['prepend_scheme'] === 'never' ? 'metaspace without prefix' : 'metaspace'
  return JSON.stringify(part)
}
