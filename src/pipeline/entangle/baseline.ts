import type { ArtifactManifest } from '../../verify/manifest.ts'
import type { BegunRun } from './run.ts'
import { all } from './layer.ts'
import { formOf } from './source.ts'
import type { MatrixName, PackedFfn, SolveResult } from '../jobs.ts'
import { segmentsOf } from '../segments.ts'
import type { Method, Pattern } from '../types.ts'

/**
 * One expert for all tokens, pruned as compress() prunes its baseline: from the dense weights, with the H of the FF inputs
 * (gate, up) and of the dense intermediates (down), with pattern, damping and value type of the artifact.
 */
export async function solveBaseline(
  run: BegunRun['run'],
  layer: number,
  manifest: ArtifactManifest,
): Promise<PackedFfn> {
  const solve = async (source: 'inputs' | 'intermediates', matrices: readonly MatrixName[]): Promise<SolveResult[]> => {
    const parts = await Promise.all(
      segmentsOf(all(run.ffnIn.ref.rows)).map((rows) =>
        run.runner.run({ kind: 'gram', layer, rows, source, ffnIn: run.ffnIn.ref }),
      ),
    )
    const [sum, ...rest] = parts
    for (const part of rest) for (let i = 0; i < sum!.length; i++) sum![i]! += part[i]!
    return run.runner.run({
      kind: 'solve',
      layer,
      matrices,
      sum: sum!,
      tokens: run.ffnIn.ref.rows,
      ...solverOptions(manifest),
      values: formOf(manifest),
      label: 'one-expert baseline',
      keep: true,
    })
  }
  const results = (
    await Promise.all([solve('inputs', ['gate_proj', 'up_proj']), solve('intermediates', ['down_proj'])])
  ).flat()
  const packed = (matrix: MatrixName): NonNullable<SolveResult['packed']> =>
    results.find((result) => result.matrix === matrix)!.packed!
  return { gate: packed('gate_proj'), up: packed('up_proj'), down: packed('down_proj') }
}

/** Options of the artifact that shape a solve; Wanda and magnitude artifacts are compared with themselves. */
function solverOptions({ options }: ArtifactManifest): {
  pattern: Pattern
  method: Method
  damping: number
  dampingMax: number
} {
  const text = options['pattern']
  const [n, m] = typeof text === 'string' ? text.split(':').map(Number) : []
  const method = options['method'] as Method
  return {
    pattern:
      n !== undefined && m !== undefined
        ? { kind: 'n:m', n, m }
        : { kind: 'unstructured', sparsity: Number(options['sparsity']) },
    method: method === 'sparse-expansion' ? 'sparsegpt' : method,
    damping: Number(options['damping']),
    dampingMax: Number(options['dampingMax']),
  }
}
