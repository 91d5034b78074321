import type { ArtifactManifest } from '../../verify/manifest.ts'
import type { BegunRun } from './run.ts'
import { all } from './layer.ts'
import type { ExpertOptions } from './solve-expert.ts'
import { solveExpert } from './solve-expert.ts'
import { formOf } from './source.ts'
import type { PackedFfn } from '../jobs.ts'
import type { Method } from '../types.ts'

/**
 * One expert for all tokens, pruned as compress() prunes its baseline, with pattern, damping and value type of the
 * artifact.
 */
export function solveBaseline(run: BegunRun['run'], layer: number, manifest: ArtifactManifest): Promise<PackedFfn> {
  const options = { ...solverOptions(manifest, layer), values: formOf(manifest), label: 'one-expert baseline' }
  return solveExpert(run, layer, all(run.ffnIn.ref.rows), options)
}

/** Options of the artifact that shape a solve; Wanda and magnitude artifacts are compared with themselves. */
function solverOptions({ options, mixture }: ArtifactManifest, layer: number): Omit<ExpertOptions, 'label'> {
  const text = options['pattern']
  const [n, m] = typeof text === 'string' ? text.split(':').map(Number) : []
  const method = options['method'] as Method
  return {
    pattern:
      n !== undefined && m !== undefined
        ? { kind: 'n:m', n, m }
        : { kind: 'unstructured', sparsity: mixture.profile?.[layer]?.sparsity ?? Number(options['sparsity']) },
    method: method === 'sparse-expansion' ? 'sparsegpt' : method,
    damping: Number(options['damping']),
    dampingMax: Number(options['dampingMax']),
    refine: Number(options['refine'] ?? 0),
  }
}
