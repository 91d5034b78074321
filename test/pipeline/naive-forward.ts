import type { OpenedModel } from '../../src/model/open.ts'

/**
 * The naive twin of the graphs: one sequence through a model of the llama form in float64, in plain loops over the
 * published formulas, reading tensors by their Hugging Face names. Returns logits (T, vocab). `ffWeights` gives gate, up
 * and down for an FF input, those of the model by default.
 */
export function naiveForward(
  model: Pick<OpenedModel, 'config' | 'weights'>,
  ids: readonly number[],
  ffWeights?: (layer: number, ffIn: Float64Array) => readonly [Float64Array, Float64Array, Float64Array],
): Float64Array {
  const { config } = model
  const read = (name: string): Float64Array => Float64Array.from(model.weights.readF32(name))
  const embedding = read('model.embed_tokens.weight')
  const head = config.tied ? embedding : read('lm_head.weight')
  const d = config.hidden
  const h = ids.map((id) => embedding.slice(id * d, (id + 1) * d))
  for (let layer = 0; layer < config.layers; layer++) {
    const at = `model.layers.${layer}`
    const mixed = attention(
      model,
      at,
      h.map((x) => rmsNorm(x, read(`${at}.input_layernorm.weight`), config.normEps)),
    )
    h.forEach((x, t) => add(x, mixed[t]!))
    const dense = ffWeights ? [] : ['gate', 'up', 'down'].map((matrix) => read(`${at}.mlp.${matrix}_proj.weight`))
    const scale = read(`${at}.post_attention_layernorm.weight`)
    for (const x of h) {
      const n = rmsNorm(x, scale, config.normEps)
      const [gate, up, down] = ffWeights ? ffWeights(layer, n) : dense
      const u = times(up!, n)
      const z = times(gate!, n).map((g, j) => (g / (1 + Math.exp(-g))) * u[j]!)
      add(x, times(down!, z))
    }
  }
  const scale = read('model.norm.weight')
  const logits = new Float64Array(ids.length * config.vocab)
  h.forEach((x, t) => logits.set(times(head, rmsNorm(x, scale, config.normEps)), t * config.vocab))
  return logits
}

function attention(
  model: Pick<OpenedModel, 'config' | 'weights'>,
  at: string,
  X: readonly Float64Array[],
): Float64Array[] {
  const { heads, kvHeads, headDim, slidingWindow } = model.config
  const project = (name: string, input: readonly Float64Array[]): Float64Array[] => {
    const W = Float64Array.from(model.weights.readF32(`${at}.self_attn.${name}.weight`))
    const bias = `${at}.self_attn.${name}.bias`
    const b = model.weights.tensors.has(bias) ? Float64Array.from(model.weights.readF32(bias)) : undefined
    return input.map((x) => {
      const y = times(W, x)
      if (b) add(y, b)
      return y
    })
  }
  const q = project('q_proj', X)
  const k = project('k_proj', X)
  const v = project('v_proj', X)
  for (let t = 0; t < X.length; t++) {
    for (let head = 0; head < heads; head++) rotate(q[t]!.subarray(head * headDim, (head + 1) * headDim), t, model)
    for (let head = 0; head < kvHeads; head++) rotate(k[t]!.subarray(head * headDim, (head + 1) * headDim), t, model)
  }
  const mixed = X.map(() => new Float64Array(heads * headDim))
  for (let t = 0; t < X.length; t++)
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor(head / (heads / kvHeads)) * headDim
      const scores: { s: number; p: number }[] = []
      const first = slidingWindow === null ? 0 : Math.max(0, t - slidingWindow + 1)
      for (let s = first; s <= t; s++) {
        let p = 0
        for (let j = 0; j < headDim; j++) p += q[t]![head * headDim + j]! * k[s]![kv + j]!
        scores.push({ s, p: Math.exp(p / Math.sqrt(headDim)) })
      }
      const sum = scores.reduce((total, { p }) => total + p, 0)
      for (const { s, p } of scores)
        for (let j = 0; j < headDim; j++) mixed[t]![head * headDim + j]! += (p / sum) * v[s]![kv + j]!
    }
  return project('o_proj', mixed)
}

/** Rotary embedding, first half of a head against the second, unscaled frequencies. */
function rotate(x: Float64Array, position: number, model: Pick<OpenedModel, 'config'>): void {
  const { headDim, rope } = model.config
  if (rope?.type !== 'default') throw new Error('The naive twin knows the default rotary embedding only')
  const half = headDim / 2
  for (let j = 0; j < half; j++) {
    const angle = position * rope.theta ** ((-2 * j) / headDim)
    const [a, b] = [x[j]!, x[half + j]!]
    x[j] = a * Math.cos(angle) - b * Math.sin(angle)
    x[half + j] = b * Math.cos(angle) + a * Math.sin(angle)
  }
}

function rmsNorm(x: Float64Array, scale: Float64Array, eps: number): Float64Array {
  const mean = x.reduce((sum, v) => sum + v * v, 0) / x.length
  return x.map((v, j) => (v / Math.sqrt(mean + eps)) * scale[j]!)
}

/** W (out, in) · x. */
function times(W: Float64Array, x: Float64Array): Float64Array {
  const y = new Float64Array(W.length / x.length)
  for (let i = 0; i < y.length; i++) for (let j = 0; j < x.length; j++) y[i]! += W[i * x.length + j]! * x[j]!
  return y
}

function add(x: Float64Array, y: Float64Array): void {
  for (let j = 0; j < x.length; j++) x[j]! += y[j]!
}
