import { describe, expect, it } from 'vitest'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import { activation, scaled, softcap } from '../../src/graph/activation.ts'
import type { ValueName } from '../../src/graph/builder.ts'
import { GraphBuilder, modelOf } from '../../src/graph/builder.ts'
import type { Activation } from '../../src/model/config.ts'
import { createSession } from '../../src/runtime/session.ts'

const X = [-30, -5, -2, -1, -0.5, -1e-3, 0, 1e-3, 0.5, 1, 2, 5, 30]

async function run(body: (b: GraphBuilder, x: ValueName) => ValueName): Promise<Float32Array> {
  const b = new GraphBuilder()
  const y = body(b, b.input('x', 'float', ['n']))
  b.output(b.node('/y', 'Identity', [y], {}, { outputs: ['y'] }), 'float', ['n'])
  const session = await createSession(encodeModel(modelOf(b.graph('one'), { producerVersion: '' })), { threads: 1 })
  const { y: out } = await session.run({ x: { type: 'float32', dims: [X.length], data: Float32Array.from(X) } })
  await session.release()
  return out!.data as Float32Array
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

/** erf by its Taylor series, which converges for every x; 200 terms reach float64 for |x| below 5. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x)
  let term = x
  let sum = x
  for (let n = 1; n < 200; n++) sum += (term *= (-x * x) / n) / (2 * n + 1)
  return (2 / Math.sqrt(Math.PI)) * sum
}

const NAIVE: Readonly<Record<Activation, (x: number) => number>> = {
  silu: (x) => x * sigmoid(x),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  quick_gelu: (x) => x * sigmoid(1.702 * x),
  relu: (x) => Math.max(0, x),
}

describe('activation()', () => {
  it.each(Object.keys(NAIVE) as Activation[])('%s is its published formula', async (kind) => {
    const got = await run((b, x) => activation(b, '/act', kind, x))
    for (const [i, x] of X.entries()) expect(Math.abs(got[i]! - NAIVE[kind](x))).toBeLessThan(1e-6 * (1 + Math.abs(x)))
  })
})

describe('softcap() and scaled()', () => {
  it('are c · tanh(x / c) and a factor, and nothing without a cap and for a factor of 1', async () => {
    const got = await run((b, x) => scaled(b, '/scale', softcap(b, '/cap', x, 4), 3))
    for (const [i, x] of X.entries()) expect(got[i]).toBeCloseTo(12 * Math.tanh(x / 4), 5)
    const b = new GraphBuilder()
    expect(scaled(b, '/scale', softcap(b, '/cap', 'x', null), 1)).toBe('x')
  })
})
