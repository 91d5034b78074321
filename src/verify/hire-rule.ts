import type { Tensor } from '../runtime/session.ts'
import type { ModelConfig } from '../model/config.ts'
import type { Chain, FfPredictor } from './hire-scores.ts'
import { ffScores, largest, predictRow } from './hire-scores.ts'

/** How one part selects: predictor and counts. `cutTo`: of the neurons selected only the k largest stay. */
export type HireRule = (
  | { readonly of: 'mlp'; readonly predictor: FfPredictor; readonly config: Pick<ModelConfig, 'activation'> }
  | { readonly of: 'softmax'; readonly predictor: Chain }
) & { readonly kPrime: number; readonly cutTo?: number }

/** What a part defines on some rows, for the selection that a graph made. */
export type RuleResult = {
  /** exact where it was selected, 0 elsewhere; and where it was selected. */
  readonly values: Tensor
  readonly isPicked: Uint8Array
  /** Groups or rows that were selected, and those of them that the decoded predictor selects too. */
  readonly selected: number
  readonly agreeing: number
}

/** x (T, d), exact (T, n), picked (T, k' / group) → what is left of exact. */
export function byRule(
  rule: HireRule,
  { x, exact, picked }: { readonly x: Tensor; readonly exact: Tensor; readonly picked: Tensor },
): RuleResult {
  const [tokens, n] = exact.dims as [number, number]
  const d = x.data.length / tokens
  const perRow = picked.data.length / tokens
  const group = rule.of === 'mlp' ? rule.predictor.group : 1
  const values = new Float32Array(exact.data.length)
  const isPicked = new Uint8Array(values.length)
  let agreeing = 0
  for (let t = 0; t < tokens; t++) {
    const row = (x.data as Float32Array).subarray(t * d, (t + 1) * d)
    const scores = rule.of === 'mlp' ? ffScores(rule.predictor, rule.config, row) : predictRow(rule.predictor, row)
    const wanted = largest(scores, rule.kPrime / group)
    for (let i = 0; i < perRow; i++) {
      const index = Number(picked.data[t * perRow + i])
      agreeing += Number(wanted.has(index))
      for (let j = index * group; j < (index + 1) * group; j++) isPicked[t * n + j] = 1
    }
    for (let j = t * n; j < (t + 1) * n; j++) if (isPicked[j] === 1) values[j] = exact.data[j] as number
    if (rule.cutTo !== undefined) cutBack(values.subarray(t * n, (t + 1) * n), rule.cutTo)
  }
  return { values: { type: 'float32', dims: exact.dims, data: values }, isPicked, selected: perRow * tokens, agreeing }
}

function cutBack(row: Float32Array, k: number): void {
  const kept = largest(
    row.map((value) => Math.abs(value)),
    k,
  )
  for (let j = 0; j < row.length; j++) if (!kept.has(j)) row[j] = 0
}
