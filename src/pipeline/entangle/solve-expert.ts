import type { MatrixName, PackedFfn, SolveJob, SolveResult } from '../jobs.ts'
import { gramOf } from './gram.ts'
import type { Measurement } from './layer.ts'

/** What shapes a solve; the rest is as compress() has it by default. */
export type ExpertOptions = Pick<SolveJob, 'pattern' | 'label'> &
  Partial<Pick<SolveJob, 'values' | 'method' | 'damping' | 'dampingMax' | 'refine'>>

/**
 * One expert for some tokens, pruned as compress() prunes it: from the dense weights, with the H of the FF inputs (gate,
 * up) and of the dense intermediates (down).
 */
export async function solveExpert(
  run: Pick<Measurement, 'runner' | 'ffnIn' | 'parts'>,
  layer: number,
  rows: Uint32Array,
  options: ExpertOptions,
): Promise<PackedFfn> {
  const solve = async (source: 'inputs' | 'intermediates', matrices: readonly MatrixName[]): Promise<SolveResult[]> =>
    run.runner.run({
      kind: 'solve',
      layer,
      matrices,
      sum: await gramOf(run, layer, rows, source),
      tokens: rows.length,
      values: { type: 'f16' },
      method: 'sparsegpt',
      damping: 0.01,
      dampingMax: 1,
      refine: 1,
      ...options,
      keep: true,
    })
  const gated = run.parts.length === 3
  const front: readonly MatrixName[] = gated ? ['gate_proj', 'up_proj'] : ['up_proj']
  const results = (await Promise.all([solve('inputs', front), solve('intermediates', ['down_proj'])])).flat()
  const packed = (matrix: MatrixName): NonNullable<SolveResult['packed']> =>
    results.find((result) => result.matrix === matrix)!.packed!
  return { ...(gated ? { gate: packed('gate_proj') } : {}), up: packed('up_proj'), down: packed('down_proj') }
}
