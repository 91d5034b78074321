import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { IntegrityError } from '../../src/errors.ts'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { writeSafetensors } from '../../src/formats/safetensors/writer.ts'
import { decodeExpert } from '../../src/verify/decode.ts'
import { stackShape } from '../../src/verify/stack.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe('decodeExpert()', () => {
  it.each([
    { type: 'f16' },
    { type: 'bf16' },
    { type: 'int8', groupSize: 0 },
    { type: 'int8', groupSize: 32 },
    { type: 'int4', groupSize: 0 },
    { type: 'int4', groupSize: 64 },
  ] as const)('gives the weights that the writer packed, for every matrix and expert: %j', async (values) => {
    const parent = mkdtempSync(join(scratch, 'made-'))
    const made = await randomArtifact({ model: 'mistral', experts: 3, sparsity: 0.6, values, parent })
    const { hidden, ff } = made.model.config
    const store = openWeights(made.folder)
    for (const [layer, weights] of made.weights.entries())
      for (const matrix of ['gate', 'up', 'down'] as const)
        for (const [e, W] of weights[matrix].entries()) {
          const base = `model.layers.${layer}.mlp.${matrix}_proj.experts`
          expect(decodeExpert(store, base, e, matrix === 'down' ? ff : hidden)).toEqual(W)
        }
    expect(stackShape(store, 'model.layers.0.mlp.down_proj.experts')).toMatchObject({
      experts: 3,
      outputs: 56,
      rowBytes: 19,
      type: values.type,
    })
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

  it('decodes bfloat16 of every kind', () => {
    // 1, -2, smallest subnormal, largest, kept zero, 1/3 rounded
    const halves = [0x3f80, 0xc000, 0x0001, 0x7f7f, 0x8000, 0x3eab]
    const store = stack({ mask: [0b0011_1111], values: [0, ...halves], offsets: [0n] }, { dtype: 'BF16' })
    expect([...decodeExpert(store, 's', 0, 6)]).toEqual([1, -2, 2 ** -133, 3.3895313892515355e38, -0, 0.333984375])
    store.close()
  })

  it('decodes whole numbers of both sizes by their scales, from odd halves of a byte too', () => {
    // Rows of 3 and 2 kept weights over 40 inputs, scales for 32 inputs: 0.5 and 2, then 0.25 and 1.
    const mask = [1, 0, 0, 0b1000_0000, 1, 0b10, 0, 0, 0, 1]
    const scales = [0x3800, 0x4000, 0x3400, 0x3c00]
    const wanted = new Float32Array(80)
    for (const [at, w] of [
      [0, -3.5],
      [31, 2],
      [32, -16],
      [41, 0.75],
      [72, 5],
    ] as const)
      wanted[at] = w
    const numbers = [0, -7, 4, -8, 3, 5]
    const nibbles = [0x90, 0x84, 0x53]
    for (const [dtype, values] of [
      ['I8', numbers],
      ['U8', nibbles],
    ] as const) {
      const store = stack({ mask, rowBytes: 5, values, offsets: [0n, 3n] }, { dtype, scales, groupSize: '32' })
      expect(decodeExpert(store, 's', 0, 40)).toEqual(wanted)
      store.close()
    }
  })

  it.each([
    ['no group size', { scales: [1, 1, 1, 1] }, /2 scales for 40 inputs, spexpand.group_size is undefined/],
    ['a group size that does not fit', { scales: [1, 1, 1, 1], groupSize: '64' }, /spexpand.group_size is 64/],
    ['a scale that is not finite', { scales: [1, 1, 0x7c00, 1], groupSize: '32' }, /scale Infinity of expert 0 row 1/],
    ['a negative scale', { scales: [0x8001, 1, 1, 1], groupSize: '32' }, /scale -\d.* of expert 0 row 0/],
    ['scales of another shape', { scales: [1, 1, 1], groupSize: '32' }, /got scales F16 \[1, 1, 3\]/],
  ] as const)('refuses %s', (_, form, message) => {
    const mask = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    const store = stack({ mask, rowBytes: 5, values: [0, 1, 1], offsets: [0n, 1n] }, { dtype: 'I8', ...form })
    expect(() => decodeExpert(store, 's', 0, 40)).toThrow(message)
    expect(() => decodeExpert(store, 's', 0, 40)).toThrow(IntegrityError)
    store.close()
  })

  it.each([
    ['values that nobody keeps', 'F16', [0, 1, 2, 3], /keep 2 weights, there are 3 values/],
    ['a number before all values', 'F16', [1, 1, 2], /number before all values is not 0/],
    ['a spare half that is not 0', 'U8', [0x10, 0x12], /keep 2 weights, there are 3 values/],
    ['too many bytes', 'U8', [0x10, 0x02, 0x00], /keep 2 weights, there are 5 values/],
  ] as const)('refuses %s', (_, dtype, values, message) => {
    const scales = dtype === 'U8' ? { scales: [0x3c00] } : {}
    const store = stack({ mask: [0b11], values, offsets: [0n] }, { dtype, ...scales })
    expect(() => decodeExpert(store, 's', 0, 7)).toThrow(message)
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

type Form = {
  readonly dtype?: 'F16' | 'BF16' | 'I8' | 'U8'
  readonly scales?: readonly number[]
  readonly groupSize?: string
}

/** One expert, by default with a byte a row, as a file. */
function stack(
  parts: {
    mask: readonly number[]
    rowBytes?: number
    values: readonly number[]
    offsets: readonly bigint[]
  },
  { dtype = 'F16', scales, groupSize }: Form = {},
): ReturnType<typeof openSafetensors> {
  const path = join(mkdtempSync(join(scratch, 'stack-')), 'stack.safetensors')
  const { mask, rowBytes = 1, values, offsets } = parts
  const bytes = dtype === 'I8' || dtype === 'U8' ? Uint8Array.from(values) : halves(values)
  const rows = mask.length / rowBytes
  const groups = scales && (scales.length % rows === 0 ? [1, rows, scales.length / rows] : [1, 1, scales.length])
  writeSafetensors(
    path,
    {
      's.mask': { dtype: 'U8', shape: [1, rows, rowBytes], bytes: Uint8Array.from(mask) },
      's.values': { dtype, shape: [values.length], bytes },
      ...(groups ? { 's.scales': { dtype: 'F16', shape: groups, bytes: halves(scales) } } : {}),
      's.row_offsets': {
        dtype: 'I64',
        shape: [1, offsets.length],
        bytes: new Uint8Array(BigInt64Array.from(offsets).buffer),
      },
    },
    groupSize === undefined ? {} : { 'spexpand.group_size': groupSize },
  )
  return openSafetensors(path)
}

function halves(bits: readonly number[]): Uint8Array {
  return new Uint8Array(Uint16Array.from(bits).buffer)
}
