/** Set bits of every byte. */
export const BYTE_POPULATION = Uint8Array.from(
  { length: 256 },
  (_, byte) => [0, 1, 2, 3, 4, 5, 6, 7].filter((j) => (byte >> j) & 1).length,
)

/** (256, 8): positions of the set bits of every byte, lowest first. */
export const BIT_POSITIONS = positions()

/** Set bits of a mask. */
export function keptCount(mask: Uint8Array): number {
  let kept = 0
  for (let b = 0; b < mask.length; b++) kept += BYTE_POPULATION[mask[b]!]!
  return kept
}

/** Set bits before each of `rows` rows of a mask. */
export function rowStartsOf(mask: Uint8Array, rows: number): Uint32Array {
  const starts = new Uint32Array(rows)
  const rowBytes = mask.length / rows
  for (let i = 0, kept = 0; i < rows; i++) {
    starts[i] = kept
    for (let b = i * rowBytes; b < (i + 1) * rowBytes; b++) kept += BYTE_POPULATION[mask[b]!]!
  }
  return starts
}

function positions(): Uint8Array {
  const table = new Uint8Array(256 * 8)
  for (let byte = 0; byte < 256; byte++)
    for (let j = 0, n = 0; j < 8; j++) if ((byte >> j) & 1) table[byte * 8 + n++] = j
  return table
}
