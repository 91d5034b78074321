import { FormatError } from '../src/errors.ts'
import type { Document } from './corpus.ts'

export type TokenStreamOptions = {
  /** Token ids of a text, without special tokens. */
  readonly encode: (text: string) => ArrayLike<number>
  /** Token put before every document, as in training: the end-of-text token. */
  readonly separatorId: number
  /** Tokens after which reading stops: what bounds time and memory on a huge text. */
  readonly maxTokens: number
}

/** All documents as one sequence of tokens. */
export type TokenStream = {
  readonly ids: Int32Array
  /** Index into domainNames of every token. */
  readonly domains: Uint16Array
  /** In alphabetical order. */
  readonly domainNames: readonly string[]
  readonly documents: number
  /** Documents of white space only, which were left out. */
  readonly emptyDocuments: number
  /** true when reading stopped at maxTokens: later text was not looked at. */
  readonly truncated: boolean
}

const MAX_DOMAINS = 65_536

/**
 * Tokenises documents until they end or there are maxTokens tokens, each document preceded by the separator. Throws
 * FormatError when there are more than 65,536 domains.
 */
export async function tokenStream(
  documents: AsyncIterable<Document> | Iterable<Document>,
  { encode, separatorId, maxTokens }: TokenStreamOptions,
): Promise<TokenStream> {
  const names = new Map<string, number>()
  const buffer = growing(maxTokens)
  let count = 0
  let emptyDocuments = 0
  let truncated = false
  for await (const { text, domain, continues } of documents) {
    if (buffer.length() === maxTokens) {
      truncated = true
      break
    }
    if (!continues && !/\S/.test(text)) {
      emptyDocuments++
      continue
    }
    const index = indexOf(domain, names)
    if (!continues) {
      count++
      buffer.push(separatorId, index)
    }
    const ids = encode(text)
    const fits = Math.min(ids.length, maxTokens - buffer.length())
    for (let i = 0; i < fits; i++) buffer.push(ids[i], index)
    truncated ||= fits < ids.length
  }
  return { ...sortDomains(buffer.take(), names), documents: count, emptyDocuments, truncated }
}

function indexOf(domain: string, names: Map<string, number>): number {
  const known = names.get(domain)
  if (known !== undefined) return known
  if (names.size === MAX_DOMAINS)
    throw new FormatError(
      `Cannot tell domains apart: got more than ${MAX_DOMAINS}: leave out "domain", or use it for kinds of text`,
    )
  names.set(domain, names.size)
  return names.size - 1
}

type Tokens = { readonly ids: Int32Array; readonly domains: Uint16Array }

/** Two columns that grow by doubling, up to `limit`. */
function growing(limit: number): { push(id: number, domain: number): void; length(): number; take(): Tokens } {
  let ids = new Int32Array(Math.min(limit, 1 << 16))
  let domains = new Uint16Array(ids.length)
  let length = 0
  return {
    push(id, domain) {
      if (length === ids.length) {
        const larger = new Int32Array(Math.min(limit, 2 * length))
        larger.set(ids)
        ids = larger
        const also = new Uint16Array(larger.length)
        also.set(domains)
        domains = also
      }
      ids[length] = id
      domains[length++] = domain
    },
    length: () => length,
    take: () => ({ ids: ids.slice(0, length), domains: domains.slice(0, length) }),
  }
}

/** Domains in the order of their names, not of the documents. */
function sortDomains({ ids, domains }: Tokens, names: Map<string, number>): Tokens & { domainNames: string[] } {
  const domainNames = [...names.keys()].sort()
  const rank = new Uint16Array(names.size)
  domainNames.forEach((name, i) => (rank[names.get(name)!] = i))
  return { ids, domains: domains.map((domain) => rank[domain]), domainNames }
}
