import { UnsupportedError } from '../../errors.ts'
import type { BlockDecoder } from './halves.ts'
import { decodeBf16, decodeF16, decodeF32 } from './floats.ts'
import { decodeQ2K, decodeQ3K, decodeQ4K, decodeQ5K, decodeQ6K } from './k-blocks.ts'
import { decodeQ40, decodeQ41, decodeQ50, decodeQ51, decodeQ80 } from './legacy-blocks.ts'

/** How a kind of tensor is stored: `elements` numbers of a row in `bytes` bytes, one block after another. */
export type Kind = {
  readonly name: KindName
  readonly elements: number
  readonly bytes: number
  /** Float kinds keep their type when they are converted; the others become float32, which holds them exactly. */
  readonly float?: 'F32' | 'F16' | 'BF16'
  readonly decode: BlockDecoder
}

export type KindName =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'

/** Kinds by their number in the file (ggml.h, enum ggml_type). */
const KINDS: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [0, { name: 'F32', elements: 1, bytes: 4, float: 'F32', decode: decodeF32 }],
  [1, { name: 'F16', elements: 1, bytes: 2, float: 'F16', decode: decodeF16 }],
  [30, { name: 'BF16', elements: 1, bytes: 2, float: 'BF16', decode: decodeBf16 }],
  [2, { name: 'Q4_0', elements: 32, bytes: 18, decode: decodeQ40 }],
  [3, { name: 'Q4_1', elements: 32, bytes: 20, decode: decodeQ41 }],
  [6, { name: 'Q5_0', elements: 32, bytes: 22, decode: decodeQ50 }],
  [7, { name: 'Q5_1', elements: 32, bytes: 24, decode: decodeQ51 }],
  [8, { name: 'Q8_0', elements: 32, bytes: 34, decode: decodeQ80 }],
  [10, { name: 'Q2_K', elements: 256, bytes: 84, decode: decodeQ2K }],
  [11, { name: 'Q3_K', elements: 256, bytes: 110, decode: decodeQ3K }],
  [12, { name: 'Q4_K', elements: 256, bytes: 144, decode: decodeQ4K }],
  [13, { name: 'Q5_K', elements: 256, bytes: 176, decode: decodeQ5K }],
  [14, { name: 'Q6_K', elements: 256, bytes: 210, decode: decodeQ6K }],
])

/** Kinds that exist and are not read here, so that the message can name them. */
const FOREIGN: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  39: 'MXFP4',
}

/** A kind and its number, for files that are written. */
export function kindNamed(name: KindName): Kind & { readonly id: number } {
  for (const [id, kind] of KINDS) if (kind.name === name) return { id, ...kind }
  throw new RangeError(`There is no kind of tensor "${name}"`)
}

/** The kind with that number. Throws UnsupportedError naming file, tensor and the kinds that are read. */
export function kindOfTensor(id: number, tensor: string, path: string): Kind {
  const kind = KINDS.get(id)
  if (kind) return kind
  const known = [...KINDS.values()].map(({ name }) => name).join(', ')
  throw new UnsupportedError(
    `Cannot use tensor ${JSON.stringify(tensor)} of ${path}: its type is ${FOREIGN[id] ?? `number ${id}`}, ` +
      `supported are ${known}: take a file in one of these`,
  )
}
