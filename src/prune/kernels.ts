/** The solver's entries of the WebAssembly module (src/kernels/assembly); addresses and strides as documented there. */
export type SolverKernels = {
  factorBlock(S: number, n: number, ld: number): number
  invertBlock(N: number, Y: number, n: number, ld: number): void
  scaleToUnit(Y: number, Z: number, n: number, ld: number): void
  loadTransposed(S: number, rows: number, cols: number, lds: number, D: number, ldd: number): number
  subtractTransposed(S: number, rows: number, cols: number, lds: number, D: number, ldd: number): void
  countBits(at: number, words: number): number
  clearCounters(bins: number): void
  scoreColumns(W: number, scores: number, rows: number, outs: number, diagonal: number, bins: number): void
  countLowBits(scores: number, count: number, bin: number, bins: number): void
  findRank(bins: number, k: number): number
  markHighest(W: number, scores: number, m: number, n: number, ld: number, diagonal: number): void
  eliminate(
    W: number,
    W0: number,
    removed: number,
    rows: number,
    ld: number,
    R: number,
    scores: number,
    threshold: number,
    diagonal: number,
    n: number,
    m: number,
    mask: number,
    maskStride: number,
    scratch: number,
  ): number
  chooseScales(
    W: number,
    scores: number,
    threshold: number,
    rows: number,
    ld: number,
    diagonal: number,
    limit: number,
    widest: number,
    tries: number,
    step: number,
    scales: number,
  ): void
  eliminateOnGrid(
    W: number,
    W0: number,
    removed: number,
    rows: number,
    ld: number,
    R: number,
    scores: number,
    threshold: number,
    diagonal: number,
    n: number,
    m: number,
    mask: number,
    maskStride: number,
    scratch: number,
    scales: number,
    limit: number,
  ): number
  refineColumns(
    W: number,
    D: number,
    DH: number,
    moved: number,
    rows: number,
    ld: number,
    H: number,
    shift: number,
    mask: number,
    maskStride: number,
    scales: number,
    limit: number,
  ): number
}
