import { join } from 'node:path'
import { FormatError } from '../errors.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import { readConfig } from '../model/config.ts'
import { openModel } from '../model/open.ts'
import { openWeights } from '../formats/safetensors/weights.ts'
import type { HirePart } from './hire-parts.ts'
import type { HireRule } from './hire-rule.ts'
import type { Predictor } from './hire-scores.ts'
import { readPredictor } from './hire-scores.ts'

/** What the `hire` section of spexpand.json says of how neurons and rows are selected. */
export type HireFacts = {
  readonly keep?: 'all' | 'k' | undefined
  readonly layers: readonly {
    readonly layer: number
    readonly group: number
    readonly always: number
    readonly predictor: Predictor
    readonly k: number
    readonly kPrime: number
  }[]
  readonly softmax?: { readonly predictor: Predictor; readonly k: number; readonly kPrime: number } | undefined
}

const WEIGHTS = 'hire.safetensors'
const HEAD = 'lm_head.hire'

/**
 * The rule of every part by the tensors of hire.safetensors, decoded when asked for. Throws FormatError for a part that the
 * section does not have.
 */
export function hireRules(folder: string, facts: HireFacts): (part: HirePart) => HireRule {
  return ({ where }) => {
    const store = openSafetensors(join(folder, WEIGHTS))
    try {
      const { hidden, activation } = readConfig(folder)
      if (where === 'softmax') {
        if (!facts.softmax) throw new FormatError(`Cannot verify ${folder}: its hire section has no softmax`)
        const { predictor, kPrime } = facts.softmax
        return { of: 'softmax', predictor: readPredictor(store, HEAD, predictor, hidden), kPrime }
      }
      const form = facts.layers.find(({ layer }) => layer === where)
      if (!form) throw new FormatError(`Cannot verify ${folder}: its hire section has no block ${where}`)
      const { base, gateBias, upBias } = layerTensors(folder, where)
      const of = (role: 'gate' | 'up'): ReturnType<typeof readPredictor> =>
        readPredictor(store, `${base}.${role}`, form.predictor, hidden)
      const hasGate = [...store.tensors.keys()].some((name) => name.startsWith(`${base}.gate.`))
      const predictor = {
        ...(hasGate ? { gate: of('gate') } : {}),
        up: of('up'),
        ...(gateBias ? { gateBias } : {}),
        ...(upBias ? { upBias } : {}),
        ...(form.always > 0 ? { bonus: store.readF32(`${base}.bonus`) } : {}),
        group: form.group,
      }
      const cut = facts.keep === 'k' ? { cutTo: form.k } : {}
      return { of: 'mlp', predictor, config: { activation }, kPrime: form.kPrime, ...cut }
    } finally {
      store.close()
    }
  }
}

/** '….mlp.hire', and the biases in front of the non-linearity, where the model has such. */
function layerTensors(
  folder: string,
  layer: number,
): { readonly base: string; readonly gateBias?: Float32Array; readonly upBias?: Float32Array } {
  const { config, tensorName, has, close } = openModel(folder)
  const weights = openWeights(folder)
  try {
    const bias = (role: 'gate' | 'up'): Float32Array | undefined =>
      has(role) && config.biases.includes(role) ? weights.readF32(tensorName(role, layer, 'bias')) : undefined
    const [gateBias, upBias] = [bias('gate'), bias('up')]
    return {
      base: tensorName(has('gate') ? 'gate' : 'up', layer).replace(/\.[^.]+\.weight$/, '.hire'),
      ...(gateBias ? { gateBias } : {}),
      ...(upBias ? { upBias } : {}),
    }
  } finally {
    weights.close()
    close()
  }
}
