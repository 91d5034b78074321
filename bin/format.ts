const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** 1234567 as '1,234,567', whatever the locale of the machine. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** Bytes in decimal units with three digits: '14.6 MB'. */
export function bytes(value: number): string {
  let unit = 0
  let scaled = value
  while (scaled >= 999.5 && unit < UNITS.length - 1) {
    scaled /= 1000
    unit++
  }
  return unit === 0 ? `${count(value)} B` : `${digits(scaled, 3)} ${UNITS[unit]!}`
}

/** A duration in ms as '350 ms', '7.4 s', '3 min 05 s' or '2 h 07 min'. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`
}

/** A fraction as a percentage with one decimal: '70.0 %'. */
export function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(1)} %`
}

/** `value` with `significant` digits and no exponent for everyday sizes: 0.0712, 29.4, 14,905. */
export function digits(value: number, significant = 4): string {
  if (!Number.isFinite(value)) return String(value)
  if (value === 0) return '0'
  // Rounded first: 999.96 has four digits before the point once it is written with four.
  const magnitude = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(significant)))))
  if (magnitude < -4) return value.toExponential(significant - 1)
  if (magnitude >= significant - 1) return count(value)
  return value.toFixed(significant - 1 - magnitude)
}

/** How many times b goes into a, as '5.81x'. */
export function times(a: number, b: number): string {
  return b > 0 ? `${digits(a / b, 3)}x` : '-'
}

function pad(value: number): string {
  return String(value).padStart(2, '0')
}
