import type { Step } from './schedule.ts'
import { GROUP, LEAF, schedule } from './schedule.ts'

/**
 * Columns [begin, end) of the factor. H = M Mᵀ, M upper triangular, so U = M⁻¹ has H⁻¹ = UᵀU. With D = W − Ŵ of the
 * columns before a panel its current weights are W + D·G, G = M[..begin, panel] · M[panel, panel]⁻¹ (E = D·M, E the
 * scaled errors of the paper): a sweep never needs U outside the diagonal blocks, and G is only ever used in products.
 */
export type Group = {
  readonly begin: number
  readonly end: number
  /** Gᵀ of all columns before the group (end − begin, begin). */
  readonly Gt: Float32Array
  readonly steps: readonly Step[]
  /**
   * One per step, (end − middle, middle − begin): of 'apply' Gᵀ of [begin, middle), of 'update' R[left, right]ᵀ with
   * R_jk = U_jk / U_jj; empty for 'prune'.
   */
  readonly operands: readonly Float32Array[]
}

/** What a sweep needs of H; valid until the next factorisation. */
export type Triangular = {
  readonly inputs: number
  readonly panelWidth: number
  readonly groups: readonly Group[]
  /** M_jj = 1 / U_jj (inputs) */
  readonly diagonal: Float32Array
  /** R of every LEAF columns: (⌈inputs / LEAF⌉, LEAF, LEAF), upper triangles. */
  readonly leaves: Float32Array
}

/** The groups with their operands as views of `G`, still to be filled; G takes Σ begin · width over the panels. */
export function planGroups(inputs: number, panelWidth: number, G: Float32Array): Group[] {
  let at = 0
  const take = (length: number): Float32Array => {
    at += length
    return G.subarray(at - length, at)
  }
  return Array.from({ length: Math.ceil(inputs / GROUP) }, (_, g) => {
    const begin = g * GROUP
    const end = Math.min(begin + GROUP, inputs)
    const steps = schedule(end - begin, panelWidth)
    const Gt = take((end - begin) * begin)
    const operands = steps.map((step) => {
      if (step.kind === 'prune') return new Float32Array(0)
      const size = (step.end - step.middle) * (step.middle - step.begin)
      return step.kind === 'apply' ? take(size) : new Float32Array(size)
    })
    return { begin, end, Gt, steps, operands }
  })
}

/** Cuts the 'update' operands of the panel [begin, end) out of its Rᵀ (width, width). */
export function cutUpdates(Rt: Float32Array, begin: number, end: number, group: Group): void {
  const width = end - begin
  const first = begin - group.begin
  for (const [i, step] of group.steps.entries()) {
    if (step.kind !== 'update' || step.begin < first || step.begin >= first + width) continue
    const depth = step.middle - step.begin
    for (let k = step.middle; k < step.end; k++) {
      const row = (k - first) * width
      const from = row + step.begin - first
      group.operands[i]!.set(Rt.subarray(from, from + depth), (k - step.middle) * depth)
    }
  }
}

/** Cuts the LEAF x LEAF diagonal blocks of the panel [begin, end) out of its Rᵀ (width, width), transposed. */
export function cutLeaves(Rt: Float32Array, begin: number, end: number, leaves: Float32Array): void {
  const width = end - begin
  for (let first = 0; first < width; first += LEAF) {
    const leaf = leaves.subarray((begin + first) * LEAF)
    for (let k = 0; k < Math.min(LEAF, width - first); k++)
      for (let j = 0; j <= k; j++) leaf[j * LEAF + k] = Rt[(first + k) * width + first + j]!
  }
}
