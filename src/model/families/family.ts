/** What a weight is for, whatever a family calls it. */
export type TensorRole =
  | 'embedding'
  | 'positions'
  | 'attentionNorm'
  | 'qkv'
  | 'query'
  | 'key'
  | 'value'
  | 'queryNorm'
  | 'keyNorm'
  | 'attentionOut'
  | 'attentionPostNorm'
  | 'ffnNorm'
  | 'gate'
  | 'up'
  | 'down'
  | 'ffnPostNorm'
  | 'finalNorm'
  | 'head'

/** Sizes and switches of config.json that a family may name in its own way. */
export type ConfigField =
  | 'hidden'
  | 'ff'
  | 'layers'
  | 'heads'
  | 'kvHeads'
  | 'headDim'
  | 'vocab'
  | 'normEps'
  | 'maxPositions'
  | 'activation'
  | 'tied'
  | 'slidingWindow'
  | 'queryScalar'
  | 'attentionMultiplier'
  | 'attentionSoftcap'
  | 'logitSoftcap'
  | 'logitDivisor'
  | 'embeddingMultiplier'
  | 'residualMultiplier'

/** A plain value of config.json. */
export type Plain = string | number | boolean | null

/** Conditions on switches of config.json: every key must have the value, or one of the values. */
export type When = Readonly<Record<string, Plain | readonly Plain[]>>

/** Matrices that have a bias vector. */
export type BiasRule = { readonly roles: readonly TensorRole[]; readonly when?: When }

/** One tensor of a file that holds several matrices of ours, one below the other. */
export type Slices = { readonly from: string; readonly into: readonly TensorRole[] }

/**
 * Layers that see only some keys: all of them, those that layer_types names, or where a file has none, every layer but
 * each `interval`th, or those from max_window_layers on.
 */
export type SlidingRule =
  | { readonly kind: 'none' | 'all' | 'max-window-layers' | 'no-rope-layers' }
  | { readonly kind: 'interval'; readonly interval: number; readonly key?: string }

/** Where the rotary embedding of a family is said, and what is left out of a file. */
export type RopeRule = {
  readonly theta: number
  /** Share of a head that is rotated. @default 1 */
  readonly share?: number
  /** Older keys of theta and share, beside rope_theta and partial_rotary_factor. */
  readonly thetaKey?: string
  readonly shareKey?: string
  /** Layers with a window have their own embedding: the key of its theta in older files, and its default. */
  readonly local?: { readonly key: string; readonly theta: number }
  /** Names of a scaling that mean another one. */
  readonly renamed?: Readonly<Record<string, string>>
}

/** One family of decoder models, as data: the code that reads and runs models asks here and nowhere else. */
export type Family = {
  /** `model_type` of config.json. */
  readonly modelType: string
  /** Keys of config.json; '' where the family has no such key and the default always holds. */
  readonly keys: Readonly<Record<ConfigField, string>>
  /** Values of keys that config.json leaves out, as transformers defines them; a field without one is required. */
  readonly defaults: Readonly<Partial<Record<ConfigField, Plain>>>
  /** Width of the FF layer where the file does not say, as a multiple of the hidden size. */
  readonly ffMultiple?: number
  /**
   * Tensor names without '.weight' and '.bias'; '{i}' stands for the layer. A role without a name is not there: no norm
   * (its input goes on as it is), or no gate (the FF layer is down(act(up x))).
   */
  readonly tensors: Readonly<Partial<Record<TensorRole, string>>>
  /** What older files leave out at the front of every name ('transformer.'). */
  readonly prefix?: string
  readonly biases: readonly BiasRule[]
  readonly slices: readonly Slices[]
  /** Matrices other than embedding and head are stored (in, out). */
  readonly transposed: boolean
  /** Order of the rows of `qkv`: all queries, keys, values; or for each key head its queries, its key, its value. */
  readonly qkvOrder: 'joined' | 'grouped'
  /** RMSNorm, RMSNorm that multiplies by 1 + weight, LayerNorm with bias. */
  readonly norm: 'rms' | 'rms-plus-one' | 'layer'
  /** Norm of queries and keys, where they have one: every head by itself, or all heads of a token together. */
  readonly qkNorm: 'head' | 'all'
  /** The FF layer reads what the attention reads, not what the attention leaves. */
  readonly parallel: boolean
  /** null: learned positions. */
  readonly rope: RopeRule | null
  /** Rows of the table of learned positions before the first position. */
  readonly positionOffset: number
  readonly sliding: SlidingRule
  /** Layers that no_rope_layers names, or every no_rope_layer_interval-th, have no rotary embedding. */
  readonly noRope: boolean
  /** The embedding is multiplied by √hidden. */
  readonly scaledEmbedding: boolean
  /** Activations that mean another one in this family. */
  readonly activations?: Readonly<Record<string, string>>
  /** Keys that `when`s ask for, with the value of a file that leaves them out. */
  readonly switches: Readonly<Record<string, Plain>>
  /** Changes of this table that hold under conditions, in order. */
  readonly variants: readonly { readonly when: When; readonly change: Partial<Omit<Family, 'variants'>> }[]
  /** Keys that change the function and are only implemented for these values (the first is the default). */
  readonly only: Readonly<Record<string, readonly Plain[]>>
  /** Keys that are only implemented where they say the hidden size. */
  readonly sameAsHidden?: readonly string[]
}
