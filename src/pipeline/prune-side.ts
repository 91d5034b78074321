import type { Run } from './block.ts'
import type { GramJob, MatrixName, SolveResult } from './jobs.ts'
import { matricesOf } from './jobs.ts'
import { inOrder } from './limiter.ts'
import { layerOptions } from './profile.ts'
import type { RowStore } from './rowstore.ts'
import type { Groups } from './segments.ts'
import { segmentsOf } from './segments.ts'

/** The pruned matrices of one expert, or of the baseline. */
export type SideResult = Partial<Record<MatrixName, SolveResult>>

/**
 * One input side of an FF layer: gate and up see the FF inputs, down sees the intermediates. Sums Σ x xᵀ per cluster,
 * solves each, and keeps the sum over all clusters for the one-expert baseline.
 */
export class PruneSide {
  private readonly run: Run
  private readonly layer: number
  private readonly groups: Groups
  private readonly source: 'inputs' | 'intermediates'
  private readonly matrices: readonly MatrixName[]
  private readonly stored: RowStore | undefined
  private total: Float32Array | undefined
  private tokens = 0
  /** Clusters are added to the total in the order they were begun, whichever finishes first. */
  private added: Promise<void> = Promise.resolve()

  /** `stored`: intermediates to use instead of the dense ones. */
  constructor(run: Run, layer: number, groups: Groups, source: 'inputs' | 'intermediates', stored?: RowStore) {
    this.run = run
    this.layer = layer
    this.groups = groups
    this.source = source
    this.stored = stored
    this.matrices = matricesOf(run.model.config).filter(
      (matrix) => (matrix === 'down_proj') === (source === 'intermediates'),
    )
  }

  /**
   * Prunes expert `e` from its own tokens. An empty cluster knows nothing of its own and gets the statistics of all
   * tokens: begin it after all others. `pruned` (true-sequential) makes the intermediates those of the pruned matrices.
   */
  async expert(e: number, pruned?: GramJob['pruned']): Promise<SideResult> {
    const rows = this.groups[e]!
    const turn = this.takeTurn()
    try {
      const own = rows.length > 0 ? await this.sum(rows, pruned) : undefined
      await turn.previous
      if (own) this.add(own, rows.length)
      turn.done()
      const remake = own ? () => this.sum(rows, pruned) : () => Promise.resolve(this.total!.slice())
      return await this.solve(own ?? (await remake()), remake, rows.length || this.tokens, `expert ${e}`, true)
    } finally {
      turn.done()
    }
  }

  /** One expert for all tokens (plain SparseGPT): only its errors are kept. Call after every expert. */
  baseline(): Promise<SideResult> {
    const remake = (): Promise<Float32Array> => Promise.resolve(this.total!.slice())
    return this.solve(this.total!.slice(), remake, this.tokens, 'one-expert baseline', false)
  }

  private takeTurn(): { previous: Promise<void>; done: () => void } {
    const previous = this.added
    const { promise, resolve } = withResolvers()
    this.added = promise
    return { previous, done: resolve }
  }

  /** Parts are added in their order; only as many as there are threads wait in memory. */
  private async sum(rows: Uint32Array, pruned?: GramJob['pruned']): Promise<Float32Array> {
    const segments = segmentsOf(rows)
    const begin = (segment: Uint32Array): Promise<Float32Array> =>
      this.run.runner.run({
        kind: 'gram',
        layer: this.layer,
        rows: segment,
        ffnIn: this.run.ffnIn.ref,
        source: this.source,
        ...(pruned ? { pruned } : {}),
        ...(this.stored ? { stored: this.stored.ref } : {}),
      })
    let sum: Float32Array | undefined
    for await (const part of inOrder(segments, begin, this.run.memory.workers))
      if (sum) addInto(sum, part)
      else sum = part
    return sum!
  }

  private add(sum: Float32Array, tokens: number): void {
    // With one expert there is no baseline beside it.
    if (this.groups.length === 1) return
    if (this.total) addInto(this.total, sum)
    else this.total = sum.slice()
    this.tokens += tokens
  }

  /** A single cluster is solved one matrix per job, so that every thread has something to do. */
  private async solve(
    sum: Float32Array,
    remake: () => Promise<Float32Array>,
    tokens: number,
    label: string,
    keep: boolean,
  ): Promise<SideResult> {
    const lists = this.groups.length > 1 && keep ? [this.matrices] : this.matrices.map((matrix) => [matrix])
    const { values, method, damping, dampingMax, refine } = this.run.options
    const { pattern } = layerOptions(this.run.options, this.layer)
    const jobs = lists.map((matrices, i) => {
      const job = {
        kind: 'solve' as const,
        layer: this.layer,
        matrices,
        // A job takes its sum with it: all but the last get a copy.
        sum: i < lists.length - 1 ? sum.slice() : sum,
        tokens,
        pattern,
        values,
        method,
        damping,
        dampingMax,
        refine,
        label,
        keep,
      }
      return this.run.runner.run(job, async () => ({ ...job, sum: await remake() }))
    })
    return Object.fromEntries((await Promise.all(jobs)).flat().map((result) => [result.matrix, result]))
  }
}

/** Promise.withResolvers(), which Node 20 does not have. */
function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>((settle) => (resolve = settle))
  return { promise, resolve }
}

function addInto(sum: Float32Array, part: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += part[i]!
}
