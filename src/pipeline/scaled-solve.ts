import { createSolver } from '../prune/sparsegpt.ts'
import type { Engine } from './engine.ts'
import { matricesOf } from './jobs.ts'
import type { Resolved } from './options.ts'
import { processorMs } from './stopwatch.ts'

/** Operations of solves that the probe runs as they are: about a second. */
const MOST_OPERATIONS = 1e11

/** Operations of one factorisation, one sweep and its passes of refinement of W (outputs, inputs). */
export function solverOperations(outputs: number, inputs: number, refine: number): number {
  return 2 * (1 + refine) * outputs * inputs ** 2 + inputs ** 3 / 3
}

/**
 * Processor time of both solves of an expert, ms, scaled up from solves of a smaller block of the same shape; undefined
 * where they are small enough to be run as they are.
 */
export async function scaledSolve(
  engine: Engine,
  { pattern, refine, method }: Resolved,
): Promise<[number, number] | undefined> {
  const { hidden, ff } = engine.model.config
  const front = matricesOf(engine.model.config).length - 1
  const sides = [
    [front * ff, hidden],
    [hidden, ff],
  ] as const
  const total = sides.reduce((sum, [outputs, inputs]) => sum + solverOperations(outputs, inputs, refine), 0)
  if (total <= MOST_OPERATIONS || method === 'wanda' || method === 'magnitude') return undefined
  const scale = Math.cbrt(MOST_OPERATIONS / total)
  const solver = createSolver(await engine.blas(), ff, front * ff)
  const times: number[] = []
  for (const [outputs, inputs] of sides) {
    const [m, n] = [Math.round((outputs * scale) / 128) * 128, Math.round((inputs * scale) / 128) * 128]
    // Positive definite, and of no influence on how long it takes.
    const H = Float32Array.from({ length: n * n }, (_, at) => 1 / (1 + Math.abs(Math.floor(at / n) - (at % n))))
    const W = Float32Array.from({ length: m * n }, (_, at) => Math.sin(at))
    const before = processorMs()
    await solver.factor(H, n)
    await solver.prune(W, m, pattern, { refine })
    const ratio = solverOperations(outputs, inputs, refine) / solverOperations(m, n, refine)
    times.push((processorMs() - before) * ratio)
  }
  return [times[0]!, times[1]!]
}
