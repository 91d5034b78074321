import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { IntegrityError } from '../../src/errors.ts'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { writeSafetensors } from '../../src/formats/safetensors/writer.ts'
import { decodeExpert, stackShape } from '../../src/verify/decode.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe('decodeExpert()', () => {
  it('gives the weights that the writer packed, for every matrix and expert', () => {
    const made = randomArtifact({ model: 'mistral', experts: 3, sparsity: 0.6, parent: join(scratch, 'made') })
    const { hidden, ff } = made.model.config
    const store = openWeights(made.folder)
    for (const [layer, weights] of made.weights.entries())
      for (const matrix of ['gate', 'up', 'down'] as const)
        for (const [e, W] of weights[matrix].entries()) {
          const base = `model.layers.${layer}.mlp.${matrix}_proj.experts`
          expect(decodeExpert(store, base, e, matrix === 'down' ? ff : hidden)).toEqual(W)
        }
    expect(stackShape(store, 'model.layers.0.mlp.down_proj.experts')).toEqual({ experts: 3, outputs: 56, rowBytes: 19 })
    store.close()
  })

  it('decodes halves of every kind', () => {
    // 1, -2, smallest subnormal, largest, kept zero, 1/3 rounded
    const halves = [0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x3555]
    const store = stack({ mask: [0b0011_1111], values: [0, ...halves], offsets: [0n] })
    const W = decodeExpert(store, 's', 0, 6)
    expect([...W]).toEqual([1, -2, 2 ** -24, 65504, -0, 0.333251953125])
    store.close()
  })

  it.each([
    [
      'offsets that do not count the bits',
      { mask: [0b11, 0b1], values: [0, 1, 2, 3], offsets: [0n, 1n] },
      /row 1 is 1, .* 2/,
    ],
    ['padding bits', { mask: [0b1000_0001, 0b1], values: [0, 1, 2, 3], offsets: [0n, 2n] }, /row 0 has a padding bit/],
    ['too few values', { mask: [0b11, 0b1], values: [0, 1, 2], offsets: [0n, 2n] }, /values 0 to 3, there are 2/],
    ['negative offsets', { mask: [0b11, 0b1], values: [0, 1, 2, 3], offsets: [-1n, 1n] }, /values -1 to 2/],
  ] as const)('refuses %s', (_, broken, message) => {
    const store = stack(broken)
    expect(() => decodeExpert(store, 's', 0, 7)).toThrow(IntegrityError)
    expect(() => decodeExpert(store, 's', 0, 7)).toThrow(message)
    store.close()
  })

  it('refuses tensors that do not belong together', () => {
    const store = stack({ mask: [1, 1], values: [0, 1, 2], offsets: [0n, 1n, 2n] })
    expect(() => stackShape(store, 's')).toThrow(/row_offsets I64 \[1, 3\]/)
    store.close()
  })
})

/** One expert with a byte a row, as a file. */
function stack(parts: {
  mask: readonly number[]
  values: readonly number[]
  offsets: readonly bigint[]
}): ReturnType<typeof openSafetensors> {
  const path = join(mkdtempSync(join(scratch, 'stack-')), 'stack.safetensors')
  const { mask, values, offsets } = parts
  writeSafetensors(path, {
    's.mask': { dtype: 'U8', shape: [1, mask.length, 1], bytes: Uint8Array.from(mask) },
    's.values': { dtype: 'F16', shape: [values.length], bytes: new Uint8Array(Uint16Array.from(values).buffer) },
    's.row_offsets': {
      dtype: 'I64',
      shape: [1, offsets.length],
      bytes: new Uint8Array(BigInt64Array.from(offsets).buffer),
    },
  })
  return openSafetensors(path)
}
