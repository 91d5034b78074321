import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { UnsupportedError } from '../../src/errors.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import type { TensorTypeName } from '../../src/formats/onnx/types.ts'
import { GraphBuilder, modelOf } from '../../src/graph/builder.ts'
import { nativeStatus, requireNative, runtimeLibrary } from '../../src/runtime/native.ts'
import { registerProvider } from '../../src/runtime/provider.ts'
import type { Tensor } from '../../src/runtime/session.ts'
import { createSession } from '../../src/runtime/session.ts'
import { maxDifference, runDecoder } from '../fixtures/decoder.ts'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

const native = nativeStatus()
const isBuilt = native.found && native.operatorsPath !== undefined
if (!isBuilt) console.log('SKIPPED test/runtime/provider.test.ts: dist/native is not built (npm run build:native)')

const folders: string[] = []
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

/** y = x. */
function identityModel(type: TensorTypeName): Uint8Array {
  const b = new GraphBuilder()
  b.output(b.node('/y', 'Identity', [b.input('x', type, ['n', 2])], {}, { outputs: ['y'] }), type, ['n', 2])
  return encodeModel(modelOf(b.graph('identity'), { producerVersion: '' }))
}

it('requireNative() says how to get what is missing, or gives both parts', () => {
  if (isBuilt) expect(requireNative()).toMatchObject({ operatorsPath: expect.stringContaining('spexpand_ops') })
  else expect(() => requireNative()).toThrow(/build:native/)
})

describe.skipIf(!isBuilt)("InferenceSession.create() with the provider 'spexpand'", () => {
  it('is reached through stock onnxruntime-node, and tells the shapes of the model', async () => {
    registerProvider()
    registerProvider()
    const session = await ort.InferenceSession.create(identityModel('float'), { executionProviders: ['spexpand'] })
    expect([session.inputNames, session.outputNames]).toEqual([['x'], ['y']])
    expect(session.inputMetadata).toEqual([{ name: 'x', isTensor: true, type: 'float32', shape: ['n', 2] }])
    const x = new ort.Tensor('float32', Float32Array.of(1, 2, 3, 4), [2, 2])
    const { y } = await session.run({ x })
    expect([y!.dims, y!.data]).toEqual([[2, 2], x.data])
    await session.release()
    await expect(session.run({ x })).rejects.toThrow('it was released')
  })

  it.each<[TensorTypeName, Tensor]>([
    ['float', { type: 'float32', dims: [1, 2], data: Float32Array.of(1, -2) }],
    ['float16', { type: 'float16', dims: [1, 2], data: Uint16Array.of(0x3c00, 0xc000) }],
    ['int64', { type: 'int64', dims: [1, 2], data: BigInt64Array.of(1n, -(2n ** 62n)) }],
    ['int32', { type: 'int32', dims: [1, 2], data: Int32Array.of(1, -2) }],
    ['bool', { type: 'bool', dims: [1, 2], data: Uint8Array.of(1, 0) }],
    ['uint8', { type: 'uint8', dims: [1, 2], data: Uint8Array.of(1, 255) }],
    ['float', { type: 'float32', dims: [0, 2], data: new Float32Array(0) }],
  ])('passes %s tensors through unchanged', async (type, tensor) => {
    const session = await createSession(identityModel(type), { threads: 1, provider: 'spexpand' })
    expect((await session.run({ x: tensor }))['y']).toEqual(tensor)
    await session.release()
  })

  it('writes into fetched buffers, and keeps outputs alive after the session', async () => {
    const session = await createSession(identityModel('float'), { threads: 1, provider: 'spexpand' })
    const x: Tensor = { type: 'float32', dims: [1, 2], data: Float32Array.of(5, 6) }
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
    const data = new Float32Array(memory.buffer, 64, 2)
    await session.run({ x }, { y: { type: 'float32', dims: [1, 2], data } })
    expect(data).toEqual(x.data)
    const { y } = await session.run({ x }, { y: null })
    await session.release()
    expect(y!.data).toEqual(x.data)
  })

  it('reports what onnxruntime refuses, and options that it would have to forget', async () => {
    const session = await createSession(identityModel('float'), { threads: 1, provider: 'spexpand' })
    const wrong: Tensor = { type: 'int64', dims: [1, 2], data: new BigInt64Array(2) }
    await expect(session.run({ x: wrong })).rejects.toThrow(/Unexpected input data type/)
    await expect(session.run({})).rejects.toThrow(/input 'x' is missing/)
    await session.release()
    await expect(createSession(Uint8Array.of(1), { threads: 1, provider: 'spexpand' })).rejects.toThrow(
      UnsupportedError,
    )
    const options = { executionProviders: ['spexpand'], enableProfiling: true }
    await expect(ort.InferenceSession.create(identityModel('float'), options)).rejects.toThrow(/with enableProfiling/)
  })

  it.each([
    { model: 'llama', experts: 4, split: true },
    { model: 'llama3-rope', experts: 1, split: false },
  ])('computes the logits of the portable form, with and without a past: $model', async ({ model, experts, split }) => {
    const artifact = await randomArtifact({ model, experts, sparsity: 0.7, split })
    folders.push(join(artifact.folder, '..'))
    const ids = BigInt64Array.from({ length: 14 }, (_, i) => BigInt((i * 37) % artifact.model.config.vocab))
    const logits: Float32Array[][] = []
    for (const provider of ['cpu', 'spexpand'] as const) {
      const session = await createSession(join(artifact.folder, 'model.onnx'), { threads: 2, provider })
      const first = await runDecoder(session, artifact.model.config, { ids, batch: 1 })
      const mask = new BigInt64Array(15).fill(1n)
      const next = { ids: BigInt64Array.of(3n), mask, batch: 1, past: first.present }
      logits.push([first.logits, (await runDecoder(session, artifact.model.config, next)).logits])
      await session.release()
    }
    for (const i of [0, 1]) expect(maxDifference(logits[0]![i]!, logits[1]![i]!)).toBeLessThan(1e-4)
  })
})

describe.skipIf(!isBuilt)('the addon', () => {
  it('refuses arguments of the wrong kind with an error and not a crash', () => {
    if (!native.found) throw new Error('unreachable')
    const loose = native.addon as unknown as Record<string, (...given: unknown[]) => unknown>
    for (const name of ['createSession', 'describeSession', 'runSession', 'releaseSession', 'runtimeVersion'])
      for (const given of [[], [1], ['x'], [{}], [null, 1, 2], [{ runtime: 'x' }, [], []]])
        expect(() => loose[name]!(...given), `${name}(${JSON.stringify(given)})`).toThrow()
    expect(() => loose['readBandwidth']!(10, 1, 1)).toThrow(/at least 512 bytes/)
    expect(loose['readBandwidth']!(1 << 20, 2, 1)).toBeGreaterThan(1e6)
    expect(() => loose['runtimeVersion']!('/no/such/library.so')).toThrow(/not loaded/)
    expect(loose['runtimeVersion']!(runtimeLibrary())).toBe(ort.env.versions.node)
  })

  it('works in a worker thread, and process and worker end cleanly', () => {
    if (!native.found) throw new Error('unreachable')
    const script = `
      const { Worker } = require('node:worker_threads')
      const use = () => {
        require(${JSON.stringify(createRequire(import.meta.url).resolve('onnxruntime-node'))})
        return require(${JSON.stringify(native.addonPath)}).runtimeVersion(${JSON.stringify(runtimeLibrary())})
      }
      const here = use()
      const worker = new Worker('const use = ' + use.toString() + '; require("node:worker_threads").parentPort.postMessage(use())', { eval: true })
      worker.on('message', (there) => process.stdout.write(here + ' ' + there))
    `
    const said = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })
    expect(said).toBe(`${ort.env.versions.node} ${ort.env.versions.node}`)
  })

  it('opens the first sessions of a process in many threads at once', { timeout: 120_000 }, () => {
    if (!native.found) throw new Error('unreachable')
    const options = {
      runtime: runtimeLibrary(),
      operators: native.operatorsPath,
      threads: 1,
      optimization: 99,
      memoryArena: true,
      memoryPattern: true,
      logSeverity: 3,
      config: [],
    }
    const script = `
      const { Worker } = require('node:worker_threads')
      const open = (load) => {
        const { parentPort, workerData } = load('node:worker_threads')
        const { given, gate } = workerData
        const addon = load(given.addon)
        Atomics.add(gate, 0, 1)
        while (Atomics.load(gate, 0) < 8);
        let said = 'opened'
        try {
          addon.createSession({ ...given.options, model: Buffer.from(given.model, 'base64') })
        } catch (error) {
          said = error.message
        }
        parentPort.postMessage(said)
      }
      const given = ${JSON.stringify({
        addon: native.addonPath,
        ort: createRequire(import.meta.url).resolve('onnxruntime-node'),
        model: Buffer.from(identityModel('float')).toString('base64'),
        options,
      })}
      require(given.ort)
      const gate = new Int32Array(new SharedArrayBuffer(4))
      for (let i = 0; i < 8; i++) {
        const worker = new Worker('(' + open.toString() + ')(require)', { eval: true, workerData: { given, gate } })
        worker.on('message', (said) => process.stdout.write(said + ' '))
      }
    `
    for (let i = 0; i < 15; i++)
      expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })).toBe('opened '.repeat(8))
  })
})
