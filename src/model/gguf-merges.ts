/**
 * The merges that a SentencePiece vocabulary implies: every way to cut a token into two tokens, best token first (as
 * transformers derives them). SentencePiece merges the pair whose union has the highest score (Kudo & Richardson 2018),
 * which is what a list of pairs in that order does; of the cuts of one token, the one with the longest left part comes
 * first. `scores` by token id; ties keep the order of the vocabulary.
 */
export function impliedMerges(tokens: readonly string[], scores: readonly number[]): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const merges: { readonly pair: [string, string]; readonly score: number }[] = []
  // The last of equal tokens counts, as in the map.
  for (const [token, id] of ids)
    for (let cut = token.length - 1; cut > 0; cut--) {
      const pair: [string, string] = [token.slice(0, cut), token.slice(cut)]
      if (ids.has(pair[0]) && ids.has(pair[1])) merges.push({ pair, score: scores[id]! })
    }
  return merges
    .sort(
      (a, b) =>
        b.score - a.score ||
        codePoints(b.pair[0]) - codePoints(a.pair[0]) ||
        codePoints(b.pair[1]) - codePoints(a.pair[1]),
    )
    .map(({ pair }) => pair)
}

function codePoints(text: string): number {
  let count = 0
  for (const _ of text) count++
  return count
}

/** GPT-2's printable character for every byte: itself where it has one, else those from U+0100 on. */
const BYTE_LETTERS: readonly string[] = byteLetters()
const ALPHABET = new Set(BYTE_LETTERS)

/** A token of a byte-level vocabulary in GPT-2's letters; some files hold a few tokens as plain text. */
export function byteLevelToken(token: string): string {
  for (const letter of token)
    if (!ALPHABET.has(letter))
      return Array.from(new TextEncoder().encode(token), (byte) => BYTE_LETTERS[byte]!).join('')
  return token
}

function byteLetters(): string[] {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++))
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
}
