import { z } from 'zod'
import { FormatError, UnsupportedError } from '../errors.ts'
import type { Family } from './families.ts'
import { field } from './field.ts'

/** What differs from layer to layer. */
export type LayerKinds = {
  /** Keys a query of a sliding layer sees, itself included; null: all before it, in every layer. */
  readonly slidingWindow: number | null
  readonly slidingLayers: 'all' | readonly number[]
  /** Layers without rotary embedding. */
  readonly noRopeLayers: readonly number[]
}

const SLIDING = 'sliding_attention'
const FULL = 'full_attention'

/** Keys a query of a layer sees, itself included; null: all before it. */
export function windowOf({ slidingWindow, slidingLayers }: LayerKinds, layer: number): number | null {
  return slidingLayers === 'all' || slidingLayers.includes(layer) ? slidingWindow : null
}

/**
 * Which layers have a window and which no rotary embedding, from layer_types (transformers 5) or the rule of the family.
 * Throws FormatError for lists of another length than the layers, UnsupportedError for layers of another kind.
 */
export function readLayerKinds(
  json: Readonly<Record<string, unknown>>,
  family: Family,
  layers: number,
  slidingWindow: number | null,
  file: string,
): LayerKinds {
  const noRopeLayers = family.noRope ? readNoRope(json, layers, file) : []
  if (slidingWindow === null || family.sliding.kind === 'none')
    return { slidingWindow: null, slidingLayers: 'all', noRopeLayers }
  const types = field(json, 'layer_types', z.array(z.string()).nullish(), file)
  if (family.sliding.kind === 'all') return { slidingWindow, slidingLayers: 'all', noRopeLayers }
  const every = Array.from({ length: layers }, (_, layer) => layer)
  if (types) {
    assertLength('layer_types', types, layers, file)
    const other = types.find((type) => type !== SLIDING && type !== FULL)
    if (other !== undefined)
      throw new UnsupportedError(`Cannot use ${file}: layer_types has "${other}", supported are ${FULL}, ${SLIDING}`)
    return { slidingWindow, slidingLayers: every.filter((layer) => types[layer] === SLIDING), noRopeLayers }
  }
  const isSliding = slidingRule(json, family.sliding, noRopeLayers, file)
  return { slidingWindow, slidingLayers: every.filter(isSliding), noRopeLayers }
}

function slidingRule(
  json: Readonly<Record<string, unknown>>,
  rule: Family['sliding'],
  noRopeLayers: readonly number[],
  file: string,
): (layer: number) => boolean {
  const whole = z.int().min(1).nullish()
  switch (rule.kind) {
    case 'interval': {
      const interval = (rule.key === undefined ? null : field(json, rule.key, whole, file)) ?? rule.interval
      return (layer) => (layer + 1) % interval !== 0
    }
    case 'max-window-layers': {
      const first = field(json, 'max_window_layers', z.int().min(0).nullish(), file) ?? 28
      return (layer) => layer >= first
    }
    case 'no-rope-layers':
      return (layer) => noRopeLayers.includes(layer)
    default:
      return () => rule.kind === 'all'
  }
}

/** no_rope_layers is a list with 1 for layers that do have one; without it every no_rope_layer_interval-th has none. */
function readNoRope(json: Readonly<Record<string, unknown>>, layers: number, file: string): number[] {
  const list = field(json, 'no_rope_layers', z.array(z.int().min(0).max(1)).nullish(), file)
  if (list) assertLength('no_rope_layers', list, layers, file)
  const interval = field(json, 'no_rope_layer_interval', z.int().min(1).nullish(), file) ?? 4
  return Array.from({ length: layers }, (_, layer) => layer).filter((layer) =>
    list ? list[layer] === 0 : (layer + 1) % interval === 0,
  )
}

function assertLength(key: string, list: readonly unknown[], layers: number, file: string): void {
  if (list.length !== layers)
    throw new FormatError(
      `Cannot read ${file}: ${key} has ${list.length} entries, expected ${layers}, one for each layer`,
    )
}
