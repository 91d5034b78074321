/** The non-linearities of FF layers, by the names of config.json as they are read here. */
export type ActivationName = 'silu' | 'gelu' | 'gelu_tanh' | 'quick_gelu' | 'relu'

/** act(x) of one number, to 2e-7: for scores that are compared, not for products. */
export function activate(kind: ActivationName, x: number): number {
  switch (kind) {
    case 'silu':
      return x / (1 + Math.exp(-x))
    case 'gelu':
      return 0.5 * x * (1 + erf(x * Math.SQRT1_2))
    case 'gelu_tanh':
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)))
    case 'quick_gelu':
      return x / (1 + Math.exp(-1.702 * x))
    case 'relu':
      return Math.max(0, x)
  }
}

/** The error function, absolute error below 1.5e-7 (Abramowitz & Stegun 7.1.26). */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x))
  const polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x))
}
