import type { MatrixName } from '../entangle/types.ts'

/** Text that is safe between tags and in quoted attributes. */
export function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

/** A measure with three digits, '–' where there is none. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (value === 0) return '0'
  const magnitude = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(3)))))
  if (magnitude < -4 || magnitude > 6) return value.toExponential(2)
  return value.toFixed(Math.max(0, 2 - magnitude))
}

/** 0.4217 as '42 %'. */
export function share(value: number): string {
  return Number.isFinite(value) ? `${Math.round(value * 100)} %` : '–'
}

/** 1234567 as '1,234,567'. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** 'gate' of 'gate_proj'. */
export function short(matrix: MatrixName): string {
  return matrix.replace('_proj', '')
}

/** Anchor of a neuron's row. */
export function anchor(layer: number, matrix: MatrixName, neuron: number): string {
  return `n-${layer}-${short(matrix)}-${neuron}`
}
