import type { Blas } from '../tensor/blas.ts'

/** Columns of one panel: products of panels are large enough for full speed, and half of them are never computed. */
const PANEL = 384
/** Rows that are collected before they are multiplied: every product reads and writes its whole result. */
const ROWS = 2048

/** S = Σ XᵀX over rows that come in pieces; equal pieces in equal order give equal bytes. */
export type Gram = {
  /** Adds the rows of X (rows, cols), row-major. */
  add(X: Float32Array): Promise<void>
  /** S (cols, cols), both triangles. */
  finish(): Promise<Float32Array>
}

/**
 * A sum of `cols` columns: in one piece where the products know how, else by panels. `rounded` allows rows to be rounded to
 * bf16 (a relative 2^-9 of every number) where products are faster for it; S is then the exact sum of the rounded rows,
 * so it stays positive semidefinite.
 */
export function createGram(blas: Blas, cols: number, rounded = false): Gram {
  if (!blas.gram) return new GramAccumulator(blas, cols)
  return new WholeGram((rows, n, X, S) => blas.gram!(rows, n, X, S, rounded), cols)
}

/** Rows are collected like those of the panels: every product reads and writes all of S. */
class WholeGram implements Gram {
  private readonly product: NonNullable<Blas['gram']>
  private readonly cols: number
  private readonly S: Float32Array
  private readonly waiting: Float32Array
  private filled = 0

  constructor(product: NonNullable<Blas['gram']>, cols: number) {
    this.product = product
    this.cols = cols
    this.S = new Float32Array(cols * cols)
    this.waiting = new Float32Array(ROWS * cols)
  }

  async add(X: Float32Array): Promise<void> {
    for (let start = 0; start < X.length;) {
      const count = Math.min(X.length - start, this.waiting.length - this.filled)
      this.waiting.set(X.subarray(start, start + count), this.filled)
      this.filled += count
      start += count
      if (this.filled === this.waiting.length) this.flush()
    }
  }

  async finish(): Promise<Float32Array> {
    this.flush()
    const { S, cols } = this
    for (let i = 0; i < cols; i++) for (let j = 0; j < i; j++) S[j * cols + i] = S[i * cols + j]!
    return S
  }

  private flush(): void {
    if (this.filled === 0) return
    this.product(this.filled / this.cols, this.cols, this.waiting.subarray(0, this.filled), this.S)
    this.filled = 0
  }
}

/**
 * Gram by panels. X is cut into column panels and only pairs p ≥ q are multiplied, so S is
 * symmetric to the last bit. Each addition is one product over 2048 rows: equal rows in equal order give equal bytes.
 */
export class GramAccumulator implements Gram {
  private readonly blas: Blas
  private readonly cols: number
  /** First column of each panel, and the end. */
  private readonly bounds: readonly number[]
  /** Rows waiting, per panel (ROWS, width). */
  private readonly panels: readonly Float32Array[]
  /** One sum per pair p ≥ q, (width p, width q). */
  private readonly sums: readonly Float32Array[]
  private filled = 0

  constructor(blas: Blas, cols: number) {
    this.blas = blas
    this.cols = cols
    const count = Math.ceil(cols / PANEL)
    this.bounds = Array.from({ length: count + 1 }, (_, p) => Math.floor((p * cols) / count))
    this.panels = Array.from({ length: count }, (_, p) => new Float32Array(ROWS * this.width(p)))
    this.sums = pairs(count).map(([p, q]) => new Float32Array(this.width(p) * this.width(q)))
  }

  async add(X: Float32Array): Promise<void> {
    const rows = X.length / this.cols
    for (let start = 0; start < rows;) {
      const count = Math.min(rows - start, ROWS - this.filled)
      this.panels.forEach((panel, p) => this.copyPanel(X, start, count, panel, p))
      this.filled += count
      start += count
      if (this.filled === ROWS) await this.flush()
    }
  }

  async finish(): Promise<Float32Array> {
    if (this.filled > 0) await this.flush()
    const { cols, bounds } = this
    const S = new Float32Array(cols * cols)
    pairs(this.panels.length).forEach(([p, q], at) => {
      const sum = this.sums[at]!
      const wide = this.width(q)
      for (let i = 0; i < this.width(p); i++)
        for (let j = 0; j < wide; j++) {
          const row = bounds[p]! + i
          const col = bounds[q]! + j
          // The products of a panel with itself are symmetric only up to rounding: the lower triangle is the one kept.
          if (p === q && j > i) continue
          S[row * cols + col] = S[col * cols + row] = sum[i * wide + j]!
        }
    })
    return S
  }

  private async flush(): Promise<void> {
    const rows = this.filled
    this.filled = 0
    let at = 0
    for (const [p, q] of pairs(this.panels.length)) {
      const A = this.panels[p]!.subarray(0, rows * this.width(p))
      const B = this.panels[q]!.subarray(0, rows * this.width(q))
      await this.blas.gemm(this.width(p), this.width(q), rows, A, B, this.sums[at++]!, { transA: true, beta: 1 })
    }
  }

  private copyPanel(X: Float32Array, start: number, count: number, panel: Float32Array, p: number): void {
    const width = this.width(p)
    const from = this.bounds[p]!
    for (let i = 0; i < count; i++) {
      const row = (start + i) * this.cols + from
      panel.set(X.subarray(row, row + width), (this.filled + i) * width)
    }
  }

  private width(p: number): number {
    return this.bounds[p + 1]! - this.bounds[p]!
  }
}

function pairs(count: number): [number, number][] {
  return Array.from({ length: count }, (_, p) => p).flatMap((p) =>
    Array.from({ length: p + 1 }, (_, q): [number, number] => [p, q]),
  )
}
