import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { packExpert } from '../../src/mixture/expert.ts'
import type { PackedExpert } from '../../src/mixture/expert.ts'
import { Engine } from '../../src/pipeline/engine.ts'
import {
  denseIntermediates,
  floats,
  matrix,
  prunedDown,
  prunedFfn,
  prunedIntermediates,
} from '../../src/pipeline/ffn.ts'

const MODELS = join(import.meta.dirname, '../golden/models')
const NAMES = readdirSync(MODELS, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
const ROWS = 5
// The processor's matrix units where they are there and built; elsewhere this is onnxruntime once more.
const CASES = NAMES.flatMap((name) => [false, true].map((native) => ({ name, native })))

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length)
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
}

describe.each(CASES)('an expert of $name that keeps every weight (native: $native)', ({ name, native }) => {
  it('gives what the dense FF layer gives, but for the rounding to f16', async () => {
    const engine = new Engine({ modelFolder: join(MODELS, name), native })
    const { hidden, ff, gated } = engine.model.config
    const layer = 1
    const pack = (role: 'gate' | 'up' | 'down'): PackedExpert => {
      const [outputs, inputs] = role === 'down' ? [hidden, ff] : [ff, hidden]
      const mask = new Uint8Array(outputs * Math.ceil(inputs / 8)).map((_, i) => {
        const rest = inputs - 8 * (i % Math.ceil(inputs / 8))
        return rest >= 8 ? 255 : (1 << rest) - 1
      })
      return packExpert(engine.model.matrix(role, layer), mask, outputs, inputs, role)
    }
    const front = { ...(gated ? { gate: pack('gate') } : {}), up: pack('up') }
    const down = pack('down')
    const X = Float32Array.from({ length: ROWS * hidden }, (_, i) => Math.sin(1 + i * 0.7))

    const dense = await (await engine.session('denseFfn', layer)).run({ x: matrix(X, ROWS, hidden) })
    const Z = (await (await denseIntermediates(engine, layer))(X, ROWS)).slice()
    expect(largestDifference(Z, floats(dense['down_in']))).toBeLessThan(native ? 1e-3 : 1e-5)
    const pruned = await (await prunedIntermediates(engine, layer, front))(X, ROWS)
    expect(largestDifference(pruned, Z)).toBeLessThan(5e-3)
    const whole = await (await prunedFfn(engine, layer, { ...front, down }))(X, ROWS)
    const update = floats(dense['update'])
    expect(largestDifference(whole, update)).toBeLessThan(1e-2)
    expect(largestDifference(await (await prunedDown(engine, layer, down))(Z, ROWS), update)).toBeLessThan(1e-2)
    engine.model.close()
  })
})
