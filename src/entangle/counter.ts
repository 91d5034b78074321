import type { Wasm } from '../linalg/wasm.ts'
import { instantiateWasm } from '../linalg/wasm.ts'
import { BINS } from './grid.ts'
import type { Placement } from './histogram.ts'
import { POWERS } from './histogram.ts'

/** The kernel of src/kernels/assembly/count.ts; pointers are byte addresses. */
type CountExports = {
  countValues(n: number, values: number, centre: number, inverse: number, counts: number, sums: number): void
}

/**
 * Counts the outputs `values[from … from + count)` of one neuron into `counts[at … at + BINS)` and adds the powers of
 * z = (y − centre) / scale to `sums[sumsAt … sumsAt + POWERS)`.
 */
export type Counter = (
  values: Float32Array,
  from: number,
  count: number,
  placement: Placement,
  counts: Uint32Array,
  at: number,
  sums: Float64Array,
  sumsAt: number,
) => void

/** A counter for up to `most` outputs at a time. The order of additions depends on `from` and `count` only. */
export function createCounter(most: number): Counter {
  const even = most + (most % 2)
  const wasm: Wasm<CountExports> = instantiateWasm<CountExports>((even + BINS + 2 * POWERS) * 4 + 192)
  const [valuesAt, countsAt, sumsAt] = [wasm.allocate(even), wasm.allocate(BINS), wasm.allocate(2 * POWERS)]
  const values = wasm.view(valuesAt, even)
  const counts = new Uint32Array(wasm.memory.buffer, countsAt, BINS)
  const sums = new Float64Array(wasm.memory.buffer, sumsAt, POWERS)
  return (data, from, count, { centre, scale }, into, at, powers, powersAt) => {
    const histogram = into.subarray(at, at + BINS)
    values.set(data.subarray(from, from + count))
    counts.set(histogram)
    sums.set(powers.subarray(powersAt, powersAt + POWERS))
    wasm.exports.countValues(count, valuesAt, centre, 1 / scale, countsAt, sumsAt)
    histogram.set(counts)
    powers.set(sums, powersAt)
  }
}
