import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { expect, it } from 'vitest'
import type { NativeAddon } from '../../src/runtime/native.ts'
import { nativeStatus } from '../../src/runtime/native.ts'

const native = nativeStatus()
if (!native.found) console.log(`Skipped test/native/products.test.ts: ${native.because}: ${native.remedy}`)
const addonPath = native.found ? native.addonPath : ''
const load = (): NativeAddon => createRequire(import.meta.url)(addonPath) as NativeAddon

/** Instruction sets that this processor has; a process takes one for good, so each is tested in its own. */
const ISAS = native.found
  ? (['amx', 'avx512', 'avx2', 'scalar'] as const).filter((isa) => inProcess(isa, 'print(addon.gemmIsa())') === isa)
  : []

it.skipIf(!native.found)('gemm() takes an instruction set that this processor has', () => {
  expect(ISAS).toContain(load().gemmIsa())
  expect(ISAS).toContain('scalar')
})

it.each(ISAS)('%s: gemm() equals the triple loop in float64 for every flag and odd shape', (isa) => {
  const worst = JSON.parse(inProcess(isa, GEMM)) as { single: number; fast: number }
  expect(worst.single).toBeLessThan(1e-6)
  // Two bf16 parts: |x - high - middle| ≤ 2^-16 |x|, so three terms of 2^-16 are left out.
  expect(worst.fast).toBeLessThan(3 * 2 ** -16)
})

it.each(ISAS)('%s: gram() adds XᵀX to the lower triangle, of as many bf16 parts as asked for', (isa) => {
  const worst = JSON.parse(inProcess(isa, GRAM)) as number[]
  expect(worst[0]).toBeLessThan(isa === 'amx' ? 2 ** -7 : 1e-6)
  expect(worst[1]).toBeLessThan(3 * 2 ** -16)
  expect(worst[2]).toBeLessThan(1e-6)
})

it.each(ISAS)('%s: gemm() of bf16 weights has the bytes that all parts give', (isa) => {
  expect(inProcess(isa, SHORT)).toBe('true')
})

it.each(ISAS)('%s: siluMultiply() equals x / (1 + e^-x) in float64, far tails included', (isa) => {
  expect(Number(inProcess(isa, SILU))).toBeLessThan(4e-7)
})

it.skipIf(!native.found)('gemm() refuses operands of the wrong length', () => {
  const two = new Float32Array(2)
  expect(() => load().gemm(2, 2, 2, two, two, two, false, false, 1, 0, false)).toThrow(/lengths/)
  expect(() => load().gram(2, 2, two, two, 2)).toThrow(/lengths/)
  expect(() => load().gram(1, 2, two, new Float32Array(4), 4)).toThrow(/parts/)
})

/** Runs a script with `addon`, `random` and `print`, and returns what it printed. */
function inProcess(isa: string, script: string): string {
  const prelude = `
    const addon = require(${JSON.stringify(addonPath)})
    let state = 1
    const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
    const random = (n) => Float32Array.from({ length: n }, () => (next() - 0.5) * Math.exp(6 * next()))
    const whole = (n) => 1 + Math.floor(next() * n)
    const print = (x) => process.stdout.write(String(x))
  `
  const env = { ...process.env, SPEXPAND_GEMM_ISA: isa }
  return execFileSync(process.execPath, ['-e', prelude + script], { env, encoding: 'utf8' })
}

const GEMM = `
  const worst = { single: 0, fast: 0 }
  for (let t = 0; t < 60; t++) {
    const [m, n, k] = [whole(90), whole(90), whole(t % 5 ? 90 : 1300)]
    const [tA, tB] = [next() < 0.5, next() < 0.5]
    const alpha = t % 3 ? 1 : -0.5
    const beta = [0, 1, 0.25][t % 3]
    const A = random(m * k), B = random(k * n), start = random(m * n)
    for (const fast of [false, true]) {
      const C = beta === 0 ? new Float32Array(m * n).fill(NaN) : start.slice()
      addon.gemm(m, n, k, A, B, C, tA, tB, alpha, beta, fast)
      for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
        let sum = 0, size = 0
        for (let p = 0; p < k; p++) {
          const product = (tA ? A[p * m + i] : A[i * k + p]) * (tB ? B[j * k + p] : B[p * n + j])
          sum += product; size += Math.abs(product)
        }
        const old = beta === 0 ? 0 : beta * start[i * n + j]
        const error = Math.abs(alpha * sum + old - C[i * n + j]) / (Math.abs(alpha) * size + Math.abs(old))
        const key = fast ? 'fast' : 'single'
        if (!(error <= worst[key])) worst[key] = Number.isNaN(error) ? Infinity : error
      }
    }
  }
  print(JSON.stringify(worst))
`

const GRAM = `
  const worst = [0, 0, 0]
  for (const parts of [1, 2, 3]) for (const [rows, n] of [[1, 1], [3, 70], [530, 33], [40, 129]]) {
    const X = random(rows * n), S = new Float32Array(n * n).fill(1)
    addon.gram(rows, n, X, S, parts)
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) {
      let sum = 1, size = 1
      for (let r = 0; r < rows; r++) { sum += X[r * n + i] * X[r * n + j]; size += Math.abs(X[r * n + i] * X[r * n + j]) }
      const error = Math.abs(sum - S[i * n + j]) / size
      if (!(error <= worst[parts - 1])) worst[parts - 1] = error
    }
  }
  print(JSON.stringify(worst))
`

// One number with more bits, in a column of its own panel, makes every part count: the other columns must not change.
const SHORT = `
  const [m, n, k] = [70, 40, 600]
  const bits = (x, mask) => { const u = new Uint32Array(x.buffer); for (let i = 0; i < u.length; i++) u[i] &= mask; return x }
  let equal = true
  for (const fast of [true, false]) for (const mask of [0xffff0000, 0xffffff00]) {
    const A = random(m * k), B = bits(random(n * k), mask), C = new Float32Array(m * n), D = new Float32Array(m * n)
    addon.gemm(m, n, k, A, B, C, false, true, 1, 0, fast)
    for (let i = 0; i < k; i++) B[i] = 1 + 2 ** -9 + 2 ** -20
    addon.gemm(m, n, k, A, B, D, false, true, 1, 0, fast)
    for (let i = 0; i < m; i++) for (let j = 1; j < n; j++) if (C[i * n + j] !== D[i * n + j]) equal = false
  }
  print(equal)
`

const SILU = `
  const gate = Float32Array.from([...random(1001), 0, -0, 1e-30, 88, -87, 200, -200, 3e4, -3e4])
  const up = random(gate.length), y = gate.slice()
  addon.siluMultiply(y, up)
  let worst = 0
  for (let i = 0; i < y.length; i++) {
    const x = gate[i], exact = (x / (1 + Math.exp(-x))) * up[i]
    const error = Math.abs(exact - y[i]) / Math.max(Math.abs(exact), 1e-30)
    if (!(error <= worst)) worst = error
  }
  print(worst)
`
