import { describe, expect, it } from 'vitest'
import { createRng } from '../../src/linalg/rng.ts'
import { inputRoot, lowRank, rankForError, truncated } from '../../src/predict/low-rank.ts'
import { dequantizeRows, quantizedBytes, quantizeRows } from '../../src/predict/quantized-rows.ts'
import type { Blas } from '../../src/tensor/blas.ts'
import type { Mat } from '../../src/tensor/mat.ts'
import { zeros } from '../../src/tensor/mat.ts'

/** Products by a triple loop. */
const blas: Blas = {
  async gemm(m, n, k, A, B, C, { transA = false, transB = false, alpha = 1, beta = 0 } = {}) {
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = 0
        for (let l = 0; l < k; l++) sum += A[transA ? l * m + i : i * k + l]! * B[transB ? j * k + l : l * n + j]!
        C[i * n + j] = alpha * sum + (beta === 0 ? 0 : beta * C[i * n + j]!)
      }
  },
}

function randomMat(rows: number, cols: number, seed: number): Mat {
  const rng = createRng(seed)
  const mat = zeros(rows, cols)
  for (let i = 0; i < mat.data.length; i++) mat.data[i] = rng.normal()
  return mat
}

const [n, d, tokens] = [40, 24, 300]
const W = randomMat(n, d, 1)
/** Inputs that lie mostly in a few directions, as those of FF layers do. */
const X = ((): Mat => {
  const mix = randomMat(d, d, 2)
  const raw = randomMat(tokens, d, 3)
  const out = zeros(tokens, d)
  for (let t = 0; t < tokens; t++)
    for (let j = 0; j < d; j++)
      for (let l = 0; l < d; l++) out.data[t * d + j]! += (raw.data[t * d + l]! * mix.data[l * d + j]!) / (1 + l) ** 1.5
  return out
})()
const C = new Float32Array(d * d)
for (let t = 0; t < tokens; t++)
  for (let i = 0; i < d; i++)
    for (let j = 0; j < d; j++) C[i * d + j]! += (X.data[t * d + i]! * X.data[t * d + j]!) / tokens

/** Mean over tokens of ‖(W − A) x‖², A = U V. */
function meanError({ U, V }: { U: Mat; V: Mat }): number {
  let sum = 0
  for (let t = 0; t < tokens; t++) {
    const x = X.data.subarray(t * d, (t + 1) * d)
    const small = Array.from({ length: V.rows }, (_, r) => x.reduce((s, v, l) => s + v * V.data[r * d + l]!, 0))
    for (let i = 0; i < n; i++) {
      const exact = x.reduce((s, v, l) => s + v * W.data[i * d + l]!, 0)
      sum += (exact - small.reduce((s, v, r) => s + v * U.data[i * V.rows + r]!, 0)) ** 2
    }
  }
  return sum / tokens
}

const root = inputRoot(C, d)

describe('lowRank()', () => {
  it('leaves the energies beyond its rank as the mean error over the inputs', async () => {
    const factors = await lowRank(blas, W, root, d)
    const total = factors.energies.reduce((a, b) => a + b)
    for (const rank of [1, 3, 8, 16]) {
      const beyond = factors.energies.subarray(rank).reduce((a, b) => a + b)
      // C and the factors are float32, whose rounding is relative to the whole energy: 2⁻²³ of it.
      expect(Math.abs(meanError(truncated(factors, rank)) - beyond)).toBeLessThan(2 ** -23 * total)
    }
  })

  it('reproduces W on the inputs at full rank, and has no more energy than there is', async () => {
    const factors = await lowRank(blas, W, root, d)
    const total = factors.energies.reduce((a, b) => a + b)
    expect(meanError(factors) / total).toBeLessThan(1e-9)
    expect(rankForError(factors.energies, 0)).toBeLessThanOrEqual(d)
  })

  it('beats the plain SVD on these inputs, which beats it on white ones', async () => {
    for (const rank of [2, 6, 12])
      expect(meanError(await lowRank(blas, W, root, rank))).toBeLessThan(
        meanError(await lowRank(blas, W, undefined, rank)),
      )
    const frobenius = ({ U, V }: { U: Mat; V: Mat }): number =>
      W.data.reduce((sum, w, at) => {
        const [i, j] = [Math.floor(at / d), at % d]
        let a = 0
        for (let r = 0; r < V.rows; r++) a += U.data[i * V.rows + r]! * V.data[r * d + j]!
        return sum + (w - a) ** 2
      }, 0)
    const plain = await lowRank(blas, W, undefined, 6)
    expect(frobenius(plain)).toBeLessThan(frobenius(await lowRank(blas, W, root, 6)))
    expect(frobenius(plain) / plain.energies.subarray(6).reduce((a, b) => a + b)).toBeCloseTo(1, 4)
  })

  it('cuts to a smaller rank as if it had been asked for it', async () => {
    const cut = truncated(await lowRank(blas, W, root, 12), 5)
    const direct = await lowRank(blas, W, root, 5)
    expect(cut.U.data).toEqual(direct.U.data)
    expect(cut.V.data).toEqual(direct.V.data)
  })

  it('survives inputs that miss whole directions', async () => {
    const flat = Float32Array.from(C, (c, at) => (Math.floor(at / d) < 5 && at % d < 5 ? c : 0))
    const { U, V } = await lowRank(blas, W, inputRoot(flat, d), 5)
    expect([...U.data, ...V.data].every((v) => Number.isFinite(v))).toBe(true)
  })

  it('refuses ranks it cannot have', async () => {
    await expect(lowRank(blas, W, root, d + 1)).rejects.toThrow(`wanted 1 to ${d}`)
    expect(() => inputRoot(C.subarray(1), d)).toThrow('second moments')
    await expect(lowRank(blas, W, { ...root, roots: root.roots.subarray(1) }, 2)).rejects.toThrow('wanted 24')
  })
})

describe('rankForError()', () => {
  it('is the smallest rank within the share', () => {
    const energies = Float64Array.of(6, 3, 1)
    expect([0, 0.1, 0.4, 0.5, 1].map((share) => rankForError(energies, share))).toEqual([3, 2, 1, 1, 1])
  })
})

describe('quantizeRows()', () => {
  it.each([
    [8, 0, 127],
    [8, 32, 127],
    [4, 0, 7],
    [4, 32, 7],
  ] as const)('rounds to %d bits in groups of %d within half a step of the f16 scale', (bits, groupSize, top) => {
    const wide = randomMat(5, 70, 9)
    const q = quantizeRows(wide, bits, groupSize)
    const back = dequantizeRows(q)
    const width = groupSize || 70
    wide.data.forEach((w, at) => {
      const row = wide.data.subarray(Math.floor(at / 70) * 70, Math.floor(at / 70) * 70 + 70)
      const g = Math.floor((at % 70) / width)
      const largest = Math.max(...row.subarray(g * width, (g + 1) * width).map(Math.abs))
      // f16 may round the scale down by 2⁻¹¹, which the largest number of the group pays `top` times.
      expect(Math.abs(w - back.data[at]!)).toBeLessThanOrEqual((largest / top) * (0.5 + top * 2 ** -11))
    })
    expect(Math.max(...q.numbers.map(Math.abs))).toBe(top)
    expect(quantizedBytes(q)).toBe((350 * bits) / 8 + 2 * 5 * (groupSize ? 3 : 1))
  })

  it('keeps zero rows zero and refuses odd groups', () => {
    expect([...dequantizeRows(quantizeRows(zeros(2, 3), 4, 0)).data]).toEqual([0, 0, 0, 0, 0, 0])
    expect(() => quantizeRows(zeros(2, 3), 4, 20)).toThrow('multiple of 32')
  })
})
