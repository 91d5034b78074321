import type { Backend, InferenceSession, InferenceSessionHandler, OnnxValue } from 'onnxruntime-common'
import ort from 'onnxruntime-node'
import { UnsupportedError } from '../errors.ts'
import type { NativeAddon, NativeTensor } from './native.ts'
import { requireNative, runtimeLibrary } from './native.ts'

type SessionOptions = InferenceSession.SessionOptions
type ValueMetadata = InferenceSession.ValueMetadata

/** Name of the provider in `executionProviders`. */
export const PROVIDER = 'spexpand'

/** Element types by their ONNX number, those that have a typed array. */
const TYPES: Readonly<Record<number, ort.Tensor.Type>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
}
const NUMBERS = new Map(Object.entries(TYPES).map(([number, type]) => [type, Number(number)]))

const OPTIMIZATION: Readonly<Record<string, number>> = { disabled: 0, basic: 1, extended: 2, layout: 3, all: 99 }
/** Options that this provider honours; another one that is set is an error and not forgotten. */
const KNOWN: readonly string[] = [
  'executionProviders',
  'intraOpNumThreads',
  'interOpNumThreads',
  'executionMode',
  'graphOptimizationLevel',
  'enableCpuMemArena',
  'enableMemPattern',
  'logSeverityLevel',
  'extra',
]

let isRegistered = false

/**
 * Makes `InferenceSession.create(model, { executionProviders: ['spexpand'] })` of onnxruntime-node work in this thread:
 * sessions of onnxruntime's CPU provider with our operators in place of the portable functions. It is used only where it
 * is named. Throws UnsupportedError when the native parts are not there.
 */
export function registerProvider(): void {
  requireNative()
  if (isRegistered) return
  // Below 0: never chosen for a session that names no provider.
  ort.registerBackend(PROVIDER, backend, -1)
  isRegistered = true
}

const backend: Backend = {
  init: () => Promise.resolve(),
  createInferenceSessionHandler: (model, options = {}) =>
    new Promise((resolve, reject) => {
      // As onnxruntime-node does: loading blocks this thread, but not before the caller's own synchronous work is done.
      setImmediate(() => {
        try {
          resolve(createHandler(model, options))
        } catch (error) {
          reject(error as Error)
        }
      })
    }),
}

function createHandler(model: string | Uint8Array, options: SessionOptions): InferenceSessionHandler {
  const { addon, operatorsPath } = requireNative()
  assertKnown(options)
  const session = addon.createSession({
    runtime: runtimeLibrary(),
    operators: operatorsPath,
    model,
    threads: options.intraOpNumThreads ?? 0,
    optimization: OPTIMIZATION[options.graphOptimizationLevel ?? 'all']!,
    memoryArena: options.enableCpuMemArena ?? true,
    memoryPattern: options.enableMemPattern ?? true,
    logSeverity: options.logSeverityLevel ?? 2,
    config: flattened(options.extra ?? {}),
  })
  const { inputs, outputs } = addon.describeSession(session)
  const inputMetadata = inputs.map(metadataOf)
  const outputMetadata = outputs.map(metadataOf)
  return {
    inputNames: inputs.map(({ name }) => name),
    outputNames: outputs.map(({ name }) => name),
    inputMetadata,
    outputMetadata,
    startProfiling() {},
    endProfiling() {},
    dispose: () => Promise.resolve(addon.releaseSession(session)),
    run: (feeds, fetches) =>
      new Promise((resolve, reject) => {
        setImmediate(() => {
          try {
            resolve(run(addon, session, feeds, fetches))
          } catch (error) {
            reject(error as Error)
          }
        })
      }),
  }
}

type Values = Readonly<Record<string, OnnxValue>>

function run(
  addon: NativeAddon,
  session: ReturnType<NativeAddon['createSession']>,
  feeds: Values,
  fetches: Readonly<Record<string, OnnxValue | null>>,
): Record<string, OnnxValue> {
  const names = Object.keys(fetches)
  const inputs = Object.entries(feeds).map(([name, value]) => [name, toNative(value, name)] as const)
  const outputs = names.map((name) => [name, fetches[name] ? toNative(fetches[name], name) : null] as const)
  const results = addon.runSession(session, inputs, outputs)
  return Object.fromEntries(names.map((name, i) => [name, fetches[name] ?? fromNative(results[i]!, name)]))
}

function toNative(value: OnnxValue, name: string): NativeTensor {
  const tensor = value as ort.Tensor
  const type = NUMBERS.get(tensor.type)
  if (type === undefined || tensor.location !== 'cpu')
    throw new UnsupportedError(`Cannot run on "spexpand": "${name}" is ${tensor.type} in ${tensor.location} memory`)
  return { type, dims: tensor.dims, data: tensor.data as ort.Tensor.DataType & ArrayBufferView }
}

function fromNative({ type, dims, data }: NativeTensor, name: string): OnnxValue {
  const buffer = data as ArrayBuffer
  switch (typeOf(type, name)) {
    case 'float32':
      return new ort.Tensor('float32', new Float32Array(buffer), dims)
    case 'float16':
      return new ort.Tensor('float16', new Uint16Array(buffer), dims)
    case 'float64':
      return new ort.Tensor('float64', new Float64Array(buffer), dims)
    case 'int64':
      return new ort.Tensor('int64', new BigInt64Array(buffer), dims)
    case 'uint64':
      return new ort.Tensor('uint64', new BigUint64Array(buffer), dims)
    case 'int32':
      return new ort.Tensor('int32', new Int32Array(buffer), dims)
    case 'uint32':
      return new ort.Tensor('uint32', new Uint32Array(buffer), dims)
    case 'int16':
      return new ort.Tensor('int16', new Int16Array(buffer), dims)
    case 'uint16':
      return new ort.Tensor('uint16', new Uint16Array(buffer), dims)
    case 'int8':
      return new ort.Tensor('int8', new Int8Array(buffer), dims)
    case 'bool':
      return new ort.Tensor('bool', new Uint8Array(buffer), dims)
    default:
      return new ort.Tensor('uint8', new Uint8Array(buffer), dims)
  }
}

function typeOf(type: number, name: string): ort.Tensor.Type {
  const found = TYPES[type]
  if (found === undefined) throw new UnsupportedError(`Cannot read "${name}": element type ${type} has no typed array`)
  return found
}

function metadataOf({ name, type, dims }: { name: string; type: number; dims: (number | string)[] }): ValueMetadata {
  return type === 0 ? { name, isTensor: false } : { name, isTensor: true, type: typeOf(type, name), shape: dims }
}

function assertKnown(options: SessionOptions): void {
  const isSequential = (options.executionMode ?? 'sequential') === 'sequential'
  const unknown = Object.keys(options).filter((key) => !KNOWN.includes(key))
  if (unknown.length > 0 || !isSequential)
    throw new UnsupportedError(
      `Cannot run on "spexpand" with ${isSequential ? unknown.join(', ') : 'executionMode parallel'}: supported are ` +
        KNOWN.join(', '),
    )
}

/** { session: { intra_op: { allow_spinning: '1' } } } as [['session.intra_op.allow_spinning', '1']]. */
function flattened(extra: Readonly<Record<string, unknown>>, prefix = ''): [string, string][] {
  return Object.entries(extra).flatMap(([key, value]): [string, string][] =>
    typeof value === 'object' && value !== null
      ? flattened(value as Record<string, unknown>, `${prefix}${key}.`)
      : [[`${prefix}${key}`, String(value)]],
  )
}
