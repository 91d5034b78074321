/** JSON as a tree that can hold what JSON.parse would lose: repeated keys, `__proto__`, and raw text in any place. */
type Tree =
  | { kind: 'raw'; text: string }
  | { kind: 'list'; items: Tree[] }
  | { kind: 'object'; entries: { key: string; value: Tree }[] }

/** One change of a JSON text; the numbers choose where and what, whatever the text is. */
export type JsonChange = { readonly where: number; readonly what: number; readonly which: number }

const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'length', '', '../x', 'then']
const VALUES = [
  ['null', 'true', 'false', '0', '-1', '1', '0.5', '-0', '1e308', '1e400', '-1e400', '1e-400', '""', '[]', '{}'],
  ['4294967296', '9007199254740993', '1152921504606846976', '18446744073709551616', '"\\u0000"', '"\\ud800"'],
  ['"../../etc/passwd"', '"/etc/passwd"', '"C:\\\\x"', '"__proto__"', '"constructor"', '[null]', '[[[[]]]]', '"NaN"'],
  ['{"__proto__":{"polluted":1}}', '{"constructor":{"prototype":{"polluted":1}}}', '"(a+)+$"', '[1e308,-1e308]'],
  ['-9223372036854775808', '2147483648', '1e9', '"\\u202e"', '{"content":1}', '{"Regex":"(x+x+)+y"}'],
].flat()

export function changedJson(text: string, changes: readonly JsonChange[]): string {
  const root = treeOf(JSON.parse(text) as unknown)
  for (const change of changes) apply(root, change)
  return textOf(root)
}

function apply(root: Tree, { where, what, which }: JsonChange): void {
  const holders = holdersOf(root)
  const holder = holders[where % holders.length]!
  const values = holder.kind === 'list' ? holder.items.map((_, i) => i) : holder.entries.map((_, i) => i)
  const at = values[which % Math.max(1, values.length)]
  const put = (value: Tree): void => {
    if (at === undefined) insert(holder, KEYS[which % KEYS.length]!, value)
    else if (holder.kind === 'list') holder.items[at] = value
    else holder.entries[at] = { key: holder.entries[at]!.key, value }
  }
  const current = (): Tree | undefined =>
    at === undefined ? undefined : holder.kind === 'list' ? holder.items[at] : holder.entries[at]!.value
  switch (what % 9) {
    case 0:
      if (at !== undefined) (holder.kind === 'list' ? holder.items : holder.entries).splice(at, 1)
      return
    case 1:
    case 2:
      return put({ kind: 'raw', text: VALUES[which % VALUES.length]! })
    case 3:
      return insert(holder, KEYS[which % KEYS.length]!, { kind: 'raw', text: VALUES[where % VALUES.length]! })
    case 4:
      if (holder.kind === 'object' && at !== undefined)
        holder.entries[at] = { key: KEYS[where % KEYS.length]!, value: holder.entries[at]!.value }
      return
    case 5:
      // The same once more: a repeated key, or a longer list.
      if (at !== undefined) insert(holder, holder.kind === 'object' ? holder.entries[at]!.key : '', current()!)
      return
    case 6:
      return put(nested([3, 130, 3000, 100_000][which % 4]!))
    case 7:
      return put({ kind: 'raw', text: JSON.stringify('x'.repeat([100, 70_000][which % 2]!)) })
    default: {
      const other = holders[which % holders.length]!
      if (other !== holder && !contains(other, holder)) put(other)
    }
  }
}

function insert(holder: Tree, key: string, value: Tree): void {
  if (holder.kind === 'list') holder.items.push(value)
  else if (holder.kind === 'object') holder.entries.push({ key, value })
}

function nested(depth: number): Tree {
  return { kind: 'raw', text: '['.repeat(depth) + ']'.repeat(depth) }
}

type Holder = Exclude<Tree, { kind: 'raw' }>

function holdersOf(root: Tree): Holder[] {
  const found: Holder[] = []
  const visit = (tree: Tree): void => {
    if (tree.kind === 'raw' || found.length > 20_000) return
    found.push(tree)
    for (const child of childrenOf(tree)) visit(child)
  }
  visit(root)
  return found.length > 0 ? found : [{ kind: 'list', items: [root] }]
}

function childrenOf(tree: Holder): Tree[] {
  return tree.kind === 'list' ? tree.items : tree.entries.map(({ value }) => value)
}

/** Whether `inner` lies in `outer`: putting `outer` into it would make a ring. */
function contains(outer: Tree, inner: Tree): boolean {
  return outer === inner || (outer.kind !== 'raw' && childrenOf(outer).some((child) => contains(child, inner)))
}

function treeOf(value: unknown): Tree {
  if (Array.isArray(value)) return { kind: 'list', items: value.map(treeOf) }
  if (typeof value !== 'object' || value === null) return { kind: 'raw', text: JSON.stringify(value) }
  return { kind: 'object', entries: Object.entries(value).map(([key, item]) => ({ key, value: treeOf(item) })) }
}

function textOf(tree: Tree): string {
  if (tree.kind === 'raw') return tree.text
  if (tree.kind === 'list') return `[${tree.items.map(textOf).join(',')}]`
  return `{${tree.entries.map(({ key, value }) => `${JSON.stringify(key)}:${textOf(value)}`).join(',')}}`
}
