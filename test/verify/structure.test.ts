import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FormatError, GateError, IntegrityError } from '../../src/errors.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { Model } from '../../src/formats/onnx/types.ts'
import type { TensorStore } from '../../src/formats/safetensors/reader.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { nativeStatus } from '../../src/runtime/native.ts'
import type { Provider } from '../../src/runtime/session.ts'
import { createSession } from '../../src/runtime/session.ts'
import { readGraph } from '../../src/verify/artifact.ts'
import { tokenBytes } from '../../src/verify/bytes.ts'
import { checkDecoding } from '../../src/verify/decode-parity.ts'
import type { FfLayer, Product } from '../../src/verify/ff-layers.ts'
import { ffLayers, productsOf } from '../../src/verify/ff-layers.ts'
import { compareProviders, parityOf } from '../../src/verify/parity.ts'
import { checkExperts, checkExternalData } from '../../src/verify/structure.ts'
import { denseTwin, ffInputName, ffModel, ffOutputName } from '../../src/verify/submodel.ts'
import { timeInTurns, timingOf } from '../../src/verify/timing.ts'
import { maxDifference, runDecoder } from '../fixtures/decoder.ts'
import type { RandomArtifact } from '../fixtures/randomArtifact.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'
import { twinFeedForward } from '../fixtures/twin.ts'

let scratch: string
let mixture: RandomArtifact
let graph: Model
let layers: FfLayer[]
let store: TensorStore
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'spexpand-test-'))
  mixture = await randomArtifact({
    model: 'llama',
    experts: 3,
    sparsity: 0.6,
    split: true,
    parent: join(scratch, 'mixture'),
  })
  graph = readGraph(mixture.folder)
  layers = ffLayers(graph, mixture.folder)
  store = openWeights(mixture.folder)
})
afterAll(() => {
  store.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** A copy of the graph with the nodes of one operator changed. */
function withNodes(change: (node: Model['graph']['node'][number]) => void): Model {
  const copy = structuredClone(graph)
  copy.graph.node.filter(({ domain }) => domain === 'spexpand').forEach((node) => change(node))
  return copy
}

describe('ffLayers()', () => {
  it('finds the products of every block with their shapes', () => {
    const { hidden, ff, layers: count } = mixture.model.config
    expect(layers.map(({ layer }) => layer)).toEqual(Array.from({ length: count }, (_, i) => i))
    const { gate, up, down } = layers[1]!
    expect([gate!, up, down].map(({ outputs, inputs, experts }) => [outputs, inputs, experts])).toEqual([
      [ff, hidden, 3],
      [ff, hidden, 3],
      [hidden, ff, 3],
    ])
    expect(down).toMatchObject({ layer: 1, matrix: 'down_proj', base: 'model.layers.1.mlp.down_proj.experts' })
  })

  it('refuses a graph without products, with a matrix missing or without metadata', () => {
    const plain = { ...graph, graph: { ...graph.graph, node: [] } }
    expect(() => ffLayers(plain, 'x')).toThrow(new FormatError('Cannot verify x: it has no sparse products'))
    const node = graph.graph.node.filter(({ name }) => name !== layers[1]!.up.node.name)
    expect(() => ffLayers({ ...graph, graph: { ...graph.graph, node } }, 'x')).toThrow(
      'block 1 has products of gate_proj, down_proj, wanted up_proj and down_proj',
    )
    expect(() =>
      ffLayers(
        withNodes((one) => delete one.metadataProps),
        'x',
      ),
    ).toThrow(/has no spexpand.layer/)
  })
})

describe('checkExternalData()', () => {
  it('counts the tensors, and names one that lies elsewhere or has another shape', () => {
    expect(checkExternalData(graph, store)).toBe(graph.graph.initializer.filter(({ external }) => external).length)
    for (const change of [
      (one: Model) => one.graph.initializer.find(({ external }) => external)!.external!.offset++,
      (one: Model) => one.graph.initializer.find(({ external }) => external)!.dims.push(1),
      (one: Model) => (one.graph.initializer.find(({ external }) => external)!.name = 'nobody'),
    ]) {
      const copy = structuredClone(graph)
      change(copy)
      expect(() => checkExternalData(copy, store)).toThrow(IntegrityError)
    }
  })
})

describe('checkExperts()', () => {
  it('counts weights and zeros of all experts', () => {
    const count = checkExperts(store, layers)
    const all = mixture.weights.flatMap(({ gate, up, down }) => [...gate, ...up, ...down])
    expect(count).toEqual({
      matrices: 6,
      experts: 18,
      weights: all.reduce((sum, W) => sum + W.length, 0),
      nonZero: all.reduce((sum, W) => sum + W.filter((w) => w !== 0).length, 0),
    })
  })

  it('refuses a matrix that is denser than its metadata say', () => {
    const lying = withNodes((node) => {
      for (const entry of node.metadataProps!) if (entry.key === 'spexpand.sparsity') entry.value = '0.9'
    })
    expect(() => checkExperts(store, ffLayers(lying, 'x'))).toThrow(/is damaged: \d+\.\d+ % of its weights are zero/)
  })
})

describe('checkDecoding()', () => {
  it('finds every column equal in the portable form, and an operator that swaps experts', async () => {
    const options = { folder: mixture.folder, threads: 1 }
    const [cpu] = await checkDecoding(graph, layers, store, ['cpu'], options)
    const { hidden, ff } = mixture.model.config
    expect(cpu).toEqual({ provider: 'cpu', weights: 2 * 3 * 8 * (ff + ff + hidden), maxDifference: 0 })
    const swapped = layers.map((layer) => ({ ...layer, up: { ...layer.up, node: layer.gate!.node } }))
    await expect(checkDecoding(graph, swapped, store, ['cpu'], options)).rejects.toThrow(GateError)
    await expect(checkDecoding(graph, swapped, store, ['cpu'], options)).rejects.toThrow(
      /"cpu" decodes "model.layers.0.mlp.up_proj.experts" expert 0 wrongly/,
    )
  })
})

describe.each([
  { type: 'int8', groupSize: 0 },
  { type: 'int4', groupSize: 32 },
] as const)('checkDecoding() and compareProviders() of $type experts', (values) => {
  it('hold every provider that is there to the independent decoder and to the portable form', async () => {
    const made = await randomArtifact({
      model: 'llama',
      experts: 2,
      sparsity: 0.5,
      values,
      parent: join(scratch, values.type),
    })
    const whole = readGraph(made.folder)
    const weights = openWeights(made.folder)
    const native = nativeStatus()
    const providers: Provider[] = native.found && native.operatorsPath !== undefined ? ['cpu', 'spexpand'] : ['cpu']
    const options = { folder: made.folder, threads: 1 }
    const found = await checkDecoding(whole, ffLayers(whole, made.folder), weights, providers, options)
    weights.close()
    expect(found.map(({ provider }) => provider)).toEqual(providers)
    for (const { maxDifference: difference } of found) expect(difference).toBeLessThan(1e-5)
    const ids = Int32Array.from({ length: 16 }, (_, i) => (i * 13) % made.model.config.vocab)
    const source = { graph: whole, source: join(made.folder, 'model.onnx'), ...options }
    for (const { kl } of await compareProviders(source, providers, { ids, nWindows: 1, sequenceLength: 16 })) {
      expect(kl).toBeGreaterThanOrEqual(-1e-6)
      expect(kl).toBeLessThan(0.02)
    }
  })
})

describe('ffModel() and denseTwin()', () => {
  it('give each FF layer alone, equal to a float64 twin', async () => {
    const { hidden, ff } = mixture.model.config
    const session = await createSession(encodeModel(ffModel(graph, layers)), { threads: 1, folder: mixture.folder })
    const tokens = 7
    const x = Float32Array.from({ length: tokens * hidden }, (_, i) => Math.sin(i * 1.7))
    const feeds = Object.fromEntries(
      layers.map(({ layer }) => [ffInputName(layer), { type: 'float32' as const, dims: [tokens, hidden], data: x }]),
    )
    const results = await session.run(feeds)
    await session.release()
    for (const [layer, weights] of mixture.weights.entries()) {
      const expected = twinFeedForward(x, { hidden, ff }, weights, mixture.routers[layer]!)
      expect(maxDifference(results[ffOutputName(layer)]!.data as Float32Array, expected.y)).toBeLessThan(2e-4)
    }
  })

  it('compute with the given weights and no router: a mixture of one expert keeps its logits', async () => {
    const single = await randomArtifact({
      model: 'mistral',
      experts: 1,
      sparsity: 0.5,
      parent: join(scratch, 'single'),
    })
    const whole = readGraph(single.folder)
    const weights = ({ layer, matrix }: Product): Float32Array =>
      single.weights[layer]![matrix.replace('_proj', '') as 'gate'][0]!
    const twin = denseTwin(whole, ffLayers(whole, 'x'), weights)
    expect(twin.functions).toEqual([])
    expect(twin.graph.node.some(({ opType }) => opType === 'SparseExpertMatMul')).toBe(false)
    const mixtureTwin = denseTwin(graph, layers, ({ outputs, inputs }) => new Float32Array(outputs * inputs))
    expect(mixtureTwin.graph.node.filter(({ opType }) => opType === 'ArgMax')).toEqual([])
    const ids = BigInt64Array.from({ length: 9 }, (_, i) => BigInt((i * 31) % single.model.config.vocab))
    const logits: Float32Array[] = []
    for (const model of [whole, twin]) {
      const session = await createSession(encodeModel(model), { threads: 1, folder: single.folder })
      logits.push((await runDecoder(session, single.model.config, { ids, batch: 1 })).logits)
      await session.release()
    }
    expect(maxDifference(logits[0]!, logits[1]!)).toBeLessThan(1e-4)
  })
})

describe('compareProviders()', () => {
  it('finds the portable form equal to itself, through the cache too', async () => {
    const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 13) % mixture.model.config.vocab)
    const windows = { ids, nWindows: 2, sequenceLength: 12 }
    const source = { graph, source: join(mixture.folder, 'model.onnx'), folder: mixture.folder, threads: 1 }
    const seen: string[] = []
    const progress = (done: number, total: number): number => seen.push(`${done}/${total}`)
    expect(await compareProviders(source, ['cpu'], windows, progress)).toEqual([
      { provider: 'cpu', rows: 2 * (12 + 5), maxDifference: 0, relativeDifference: 0, kl: 0, topOneAgreement: 1 },
    ])
    expect(seen).toEqual(['1/4', '2/4', '3/4', '4/4'])
  })
})

describe('parityOf()', () => {
  it('gives the largest difference, the mean KL and the share of equal top tokens', () => {
    // p = (1/2, 1/4, 1/4) twice; q = p, then (1/4, 1/2, 1/4): KL = ln(2)/4.
    const p = Float32Array.of(Math.log(2), 0, 0)
    const reference = { vocab: 3, logits: [Float32Array.of(...p, ...p)] }
    const other = { vocab: 3, logits: [Float32Array.of(...p, 0, Math.log(2), 0)] }
    const parity = parityOf('spexpand', reference, other)
    expect(parity).toMatchObject({ provider: 'spexpand', rows: 2, topOneAgreement: 0.5 })
    expect(parity.maxDifference).toBeCloseTo(Math.log(2), 6)
    expect(parity.relativeDifference).toBeCloseTo(1, 6)
    expect(parity.kl).toBeCloseTo(Math.log(2) / 8, 6)
    const broken = parityOf('spexpand', reference, { vocab: 3, logits: [Float32Array.of(NaN, 0, 0, 0, 0, 0)] })
    expect([broken.maxDifference, broken.kl]).toEqual([NaN, NaN])
  })
})

describe('tokenBytes()', () => {
  it('counts stored bytes of one expert, dense ones as f32, and the rest without rows that are looked up', () => {
    const { hidden, ff, vocab, heads, kvHeads, headDim } = mixture.model.config
    const stored = layers
      .flatMap((layer) => productsOf(layer))
      .flatMap(({ base }) => ['mask', 'values', 'row_offsets'].map((part) => store.get(`${base}.${part}`).byteLength))
    const attention = 2 * hidden * heads * headDim + 2 * hidden * kvHeads * headDim
    const routers = 3 * (hidden + ff) + 6
    const rest = 2 * (attention + routers + 2 * hidden) + hidden + vocab * hidden
    const result = tokenBytes(graph, layers, store)
    expect(result.ffSparse).toBeCloseTo(stored.reduce((a, b) => a + b, 0) / 3, 6)
    expect(result.ffDense).toBe(2 * 3 * hidden * ff * 4)
    // Constants of the graph itself are a few dozen numbers.
    expect(result.other - 4 * rest).toBeGreaterThanOrEqual(0)
    expect(result.other - 4 * rest).toBeLessThan(1000)
  })
})

describe('timeInTurns()', () => {
  it('runs contenders in turns, forwards and backwards, and leaves the warm-up out', async () => {
    let clock = 0
    const order: string[] = []
    const contender = (name: string, cost: number) => (): Promise<void> => {
      order.push(name)
      clock += cost * order.length
      return Promise.resolve()
    }
    const [a, b] = await timeInTurns([contender('a', 1), contender('b', 10)], {
      warmUp: 1,
      rounds: 2,
      now: () => clock,
    })
    expect(order.join('')).toBe('abbaab')
    expect(a).toEqual({ medianMs: 4.5, q1Ms: 4.25, q3Ms: 4.75, runs: 2 })
    expect(b!.medianMs).toBe(45)
  })

  it('gives quartiles between the sorted times', () => {
    expect(timingOf([5, 1, 3, 2, 4])).toEqual({ medianMs: 3, q1Ms: 2, q3Ms: 4, runs: 5 })
    expect(timingOf([7])).toEqual({ medianMs: 7, q1Ms: 7, q3Ms: 7, runs: 1 })
  })
})
