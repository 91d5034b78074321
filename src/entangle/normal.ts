/**
 * Φ⁻¹(p), the quantile of N(0, 1), by AS 241 PPND16 (Wichura 1988), relative error about 1e-16; ∓∞ at 0 and 1, NaN
 * outside [0, 1]. Written out: it is called for every bin of every neuron.
 */
export function normalQuantile(p: number): number {
  const q = p - 0.5
  if (Math.abs(q) <= 0.425) return q * centre(0.180625 - q * q)
  if (!(p > 0 && p < 1)) return p === 0 ? -Infinity : p === 1 ? Infinity : NaN
  const r = Math.sqrt(-Math.log(q < 0 ? p : 1 - p))
  const x = r <= 5 ? middle(r - 1.6) : tail(r - 5)
  return q < 0 ? -x : x
}

/** Longer tables would take more memory than they save time. */
const MAX_TABLE = 2 ** 22
let table: { readonly n: number; readonly quantiles: Float64Array } | undefined

/** Φ⁻¹(i/n) for i = 0 … n; the last one is kept, since all neurons of a layer ask for the same. undefined for huge n. */
export function quantileTable(n: number): Float64Array | undefined {
  if (n > MAX_TABLE) return undefined
  if (table?.n !== n) table = { n, quantiles: Float64Array.from({ length: n + 1 }, (_, i) => normalQuantile(i / n)) }
  return table.quantiles
}

/** φ(x), the density of N(0, 1). */
export function normalDensity(x: number): number {
  return Math.exp(-0.5 * x * x) * 0.3989422804014327
}

function centre(r: number): number {
  const a =
    ((((((2509.0809287301227 * r + 33430.57558358813) * r + 67265.7709270087) * r + 45921.95393154987) * r +
      13731.69376550946) *
      r +
      1971.5909503065513) *
      r +
      133.14166789178438) *
      r +
    3.3871328727963665
  const b =
    ((((((5226.495278852854 * r + 28729.085735721943) * r + 39307.89580009271) * r + 21213.794301586597) * r +
      5394.196021424751) *
      r +
      687.1870074920579) *
      r +
      42.31333070160091) *
      r +
    1
  return a / b
}

function middle(r: number): number {
  const a =
    ((((((0.0007745450142783414 * r + 0.022723844989269184) * r + 0.2417807251774506) * r + 1.2704582524523684) * r +
      3.6478483247632045) *
      r +
      5.769497221460691) *
      r +
      4.630337846156546) *
      r +
    1.4234371107496835
  const b =
    ((((((1.0507500716444169e-9 * r + 0.0005475938084995345) * r + 0.015198666563616457) * r + 0.14810397642748008) *
      r +
      0.6897673349851) *
      r +
      1.6763848301838038) *
      r +
      2.053191626637759) *
      r +
    1
  return a / b
}

function tail(r: number): number {
  const a =
    ((((((2.0103343992922881e-7 * r + 2.7115555687434876e-5) * r + 0.0012426609473880784) * r + 0.026532189526576124) *
      r +
      0.29656057182850487) *
      r +
      1.7848265399172913) *
      r +
      5.463784911164114) *
      r +
    6.657904643501103
  const b =
    ((((((2.0442631033899397e-15 * r + 1.421511758316446e-7) * r + 1.8463183175100548e-5) * r + 0.0007868691311456133) *
      r +
      0.014875361290850615) *
      r +
      0.1369298809227358) *
      r +
      0.599832206555888) *
      r +
    1
  return a / b
}
