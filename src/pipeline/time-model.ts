import type { OpenedModel } from '../model/open.ts'
import type { MemoryPlan } from './memory.ts'
import type { Resolved } from './options.ts'
import type { Cost, Costs } from './probe.ts'
import { layerOptions } from './profile.ts'
import type { Sizes } from './sizes.ts'

/** Rows of one job of a sum or of pruned outputs (segmentsOf). */
const SEGMENT_ROWS = 8192
/** Starting Node, onnxruntime and this program, and one more worker: ms of a processor. */
const START_MS = 700
const WORKER_START_MS = 400

/** Expected time of a run. */
export type RunTime = {
  /** On the clock, with nothing else on the machine. */
  readonly seconds: number
  /** Of all processors together. */
  readonly cpuSeconds: number
}

/** What the pieces of a run add up to: what workers share is divided among them, the rest comes on top. */
export function runTime(
  model: OpenedModel,
  options: Resolved,
  { workers }: MemoryPlan,
  costs: Costs,
  sizes: Pick<Sizes, 'artifactBytes' | 'ff'>,
): RunTime {
  const { tokens } = options
  const { layers } = model.config
  // Weights are hashed when they are read and again when they are written, and written twice.
  const written = sizes.artifactBytes + sizes.ff.ffBytesStored
  const weights = [...model.weights.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
  let alone = START_MS + costs.text + costs.hash * (weights + 2 * written)
  let shared = workers * WORKER_START_MS
  for (let layer = 0; layer < layers; layer++) {
    const { experts } = layerOptions(options, layer)
    const segments = Math.max(experts, Math.ceil(tokens / SEGMENT_ROWS) + experts / 2)
    const [gate, down] = costs.solve
    const baseline = experts > 1 ? 1 : 0
    const perRows = (cost: Cost, jobs: number): number => jobs * cost.once + tokens * cost.perRow
    alone += experts > 1 ? perRows(costs.cluster, 1) : 0
    shared +=
      workers * costs.open +
      perRows(costs.attention, 1) +
      costs.gram.reduce(
        (sum, cost) => sum + perRows(cost, experts > 1 ? segments : Math.ceil(tokens / SEGMENT_ROWS)),
        0,
      ) +
      (experts + baseline) * (gate + down) +
      perRows(costs.propagate, segments)
  }
  return { seconds: (alone + shared / workers) / 1000, cpuSeconds: (alone + shared) / 1000 }
}
