import type { StringEntry } from '../src/formats/onnx/types.ts'

/**
 * Where a key appears: the ONNX model and the safetensors file, the ONNX model only, a product node, a router node, the
 * files of HiRE, a node of HiRE that selects; and once predict --griffin has amended the artifact, the files and products.
 */
export type MetadataPlace =
  | 'files'
  | 'model'
  | 'product'
  | 'router'
  | 'hire'
  | 'selection'
  | 'griffin'
  | 'griffinProduct'

type MetadataKey = {
  readonly key: string
  readonly place: MetadataPlace
  /** Type of the value that the string holds. */
  readonly type: 'integer' | 'number' | 'string'
  readonly unit: string
  readonly meaning: string
  readonly example: string
}

/** Every key that this version writes. Keys are never given another meaning; new ones may be added. */
export const METADATA_KEYS = [
  {
    key: 'spexpand.format_version',
    place: 'files',
    type: 'integer',
    unit: '',
    meaning: 'version of this page; readers refuse a higher one',
    example: '1',
  },
  {
    key: 'spexpand.tool_version',
    place: 'files',
    type: 'string',
    unit: '',
    meaning: 'version of spexpand that wrote the artifact',
    example: '0.1.0',
  },
  {
    key: 'spexpand.method',
    place: 'files',
    type: 'string',
    unit: '',
    meaning: 'sparse-expansion, sparsegpt, wanda or magnitude',
    example: 'sparse-expansion',
  },
  {
    key: 'spexpand.experts',
    place: 'files',
    type: 'integer',
    unit: 'experts',
    meaning: 'experts per FF layer',
    example: '16',
  },
  {
    key: 'spexpand.router',
    place: 'files',
    type: 'string',
    unit: '',
    meaning: 'none (one expert), shared (one router per FF layer), split (down has its own)',
    example: 'shared',
  },
  {
    key: 'spexpand.sparsity',
    place: 'files',
    type: 'number',
    unit: 'fraction of weights',
    meaning: 'zeros in the FF matrices, over all experts',
    example: '0.700024',
  },
  {
    key: 'spexpand.values',
    place: 'files',
    type: 'string',
    unit: '',
    meaning: 'how kept weights are stored: f16, bf16, int8 or int4; absent means f16',
    example: 'f16',
  },
  {
    key: 'spexpand.group_size',
    place: 'files',
    type: 'integer',
    unit: 'inputs',
    meaning: 'inputs that share a scale, 0 where a whole row does; f16 and bf16 have no scales',
    example: '0',
  },
  {
    key: 'spexpand.source_sha256',
    place: 'files',
    type: 'string',
    unit: '',
    meaning: 'SHA-256 of the dense model: of the lines "hash  name" of its config, tokenizer and weight files',
    example: '9f86d0…',
  },
  {
    key: 'spexpand.stock_body',
    place: 'model',
    type: 'string',
    unit: '',
    meaning: 'body of the functions for runtimes without our kernels: stream or fold',
    example: 'stream',
  },
  {
    key: 'spexpand.final_hidden',
    place: 'model',
    type: 'string',
    unit: '',
    meaning: 'name of the value (tokens, hidden) between the last block and the final norm; tokens = batch · sequence',
    example: '/model/final_hidden',
  },
  {
    key: 'spexpand.layer',
    place: 'product',
    type: 'integer',
    unit: '',
    meaning: 'decoder block, from 0',
    example: '3',
  },
  {
    key: 'spexpand.matrix',
    place: 'product',
    type: 'string',
    unit: '',
    meaning: 'gate_proj, up_proj or down_proj',
    example: 'gate_proj',
  },
  {
    key: 'spexpand.experts',
    place: 'product',
    type: 'integer',
    unit: 'experts',
    meaning: 'experts of this matrix',
    example: '16',
  },
  {
    key: 'spexpand.sparsity',
    place: 'product',
    type: 'number',
    unit: 'fraction of weights',
    meaning: 'zeros of this matrix, over all experts',
    example: '0.70002',
  },
  {
    key: 'spexpand.error',
    place: 'product',
    type: 'number',
    unit: 'relative',
    meaning: 'sqrt(tr ΔHΔᵀ / tr WHWᵀ) of the experts on their own calibration tokens, H undamped',
    example: '0.2113',
  },
  {
    key: 'spexpand.baseline_error',
    place: 'product',
    type: 'number',
    unit: 'relative',
    meaning: 'the same of one expert for all tokens',
    example: '0.2544',
  },
  {
    key: 'spexpand.layer',
    place: 'router',
    type: 'integer',
    unit: '',
    meaning: 'decoder block of the router, from 0',
    example: '3',
  },
  {
    key: 'spexpand.router_of',
    place: 'router',
    type: 'string',
    unit: '',
    meaning: 'what it routes: mlp (the FF input), or down_proj (the intermediate)',
    example: 'mlp',
  },
  {
    key: 'spexpand.hire',
    place: 'hire',
    type: 'string',
    unit: '',
    meaning: 'the hire section of spexpand.json, as JSON',
    example: '{"version":1,…}',
  },
  {
    key: 'spexpand.hire.of',
    place: 'selection',
    type: 'string',
    unit: '',
    meaning: 'what is selected: mlp (neurons) or lm_head (rows of the softmax)',
    example: 'mlp',
  },
  {
    key: 'spexpand.layer',
    place: 'selection',
    type: 'integer',
    unit: '',
    meaning: 'decoder block, from 0; not on lm_head',
    example: '3',
  },
  {
    key: 'spexpand.hire.k',
    place: 'selection',
    type: 'integer',
    unit: 'neurons or rows',
    meaning: 'how many count',
    example: '384',
  },
  {
    key: 'spexpand.hire.k_prime',
    place: 'selection',
    type: 'integer',
    unit: 'neurons or rows',
    meaning: 'how many are computed exactly',
    example: '640',
  },
  {
    key: 'spexpand.hire.recall',
    place: 'selection',
    type: 'number',
    unit: 'fraction of k',
    meaning: 'share of the k largest among the k_prime predicted, on the choosing text',
    example: '0.9807',
  },
  {
    key: 'spexpand.griffin',
    place: 'griffin',
    type: 'string',
    unit: '',
    meaning: 'JSON: GRIFFIN densities by layer, ranking, statistic and what they cost (docs/predict.md)',
    example: '{"formatVersion":1,…}',
  },
  {
    key: 'spexpand.griffin.density',
    place: 'griffinProduct',
    type: 'number',
    unit: 'fraction of neurons',
    meaning: 'share of FF neurons that the layer keeps behind a prompt',
    example: '0.5',
  },
  {
    key: 'spexpand.griffin.neurons',
    place: 'griffinProduct',
    type: 'integer',
    unit: 'neurons',
    meaning: 'how many those are',
    example: '768',
  },
] as const satisfies readonly MetadataKey[]

type KeyAt<P extends MetadataPlace> = Extract<(typeof METADATA_KEYS)[number], { place: P }>['key']

/** Values of all keys of one place. */
export type MetadataOf<P extends MetadataPlace> = Readonly<Record<KeyAt<P>, string>>

/** Six digits: enough to compare, and the same text wherever the number was computed. */
export function metadataNumber(value: number): string {
  return String(Number(value.toPrecision(6)))
}

/** A record as metadata_props, sorted by key. */
export function metadataProps(record: Readonly<Record<string, string>>): StringEntry[] {
  return Object.keys(record)
    .sort()
    .map((key) => ({ key, value: record[key]! }))
}

const PLACE_TITLES: Readonly<Record<MetadataPlace, string>> = {
  files: 'ONNX model and safetensors `__metadata__`',
  model: 'ONNX model',
  product: '`SparseExpertMatMul` and `SparseExpertMatMulInteger` nodes',
  router: 'the `ArgMax` node of a router',
  hire: '`hire.onnx` and `hire.safetensors`',
  selection: 'the `TopK` nodes of `hire.onnx`',
  griffin: 'ONNX model and safetensors `__metadata__`, by `predict --griffin`',
  griffinProduct: '`SparseExpertMatMul` and `SparseExpertMatMulInteger` nodes, by `predict --griffin`',
}

/** The table of docs/formats.md. */
export function metadataTable(): string {
  const rows = METADATA_KEYS.map(
    ({ key, place, type, unit, meaning, example }) =>
      `| \`${key}\` | ${PLACE_TITLES[place]} | ${type} | ${unit || '–'} | ${meaning} | \`${example}\` |`,
  )
  return ['| key | on | type | unit | meaning | example |', '|---|---|---|---|---|---|', ...rows].join('\n')
}
