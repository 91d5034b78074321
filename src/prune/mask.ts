/** A mask under construction: (rows, ⌈cols / 8⌉), bit 0 first, 1 = kept. */
export function emptyMask(rows: number, cols: number): Uint8Array {
  return new Uint8Array(rows * ((cols + 7) >> 3))
}

/** All kept; the padding bits of a row are 0. */
export function fullMask(rows: number, cols: number): Uint8Array {
  const rowBytes = (cols + 7) >> 3
  const mask = emptyMask(rows, cols).fill(255)
  const used = cols & 7
  if (used > 0) for (let i = 1; i <= rows; i++) mask[i * rowBytes - 1] = (1 << used) - 1
  return mask
}
