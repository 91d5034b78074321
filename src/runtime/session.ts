import type { InferenceSession } from 'onnxruntime-node'
import ort from 'onnxruntime-node'
import { ShapeError, UnsupportedError } from '../errors.ts'
import { elementCount } from '../tensor/dtype.ts'
import { registerProvider } from './provider.ts'
import { REMEDY } from './remedy.ts'

type ArrayOf = {
  float32: Float32Array
  float16: Uint16Array
  int64: BigInt64Array
  int32: Int32Array
  bool: Uint8Array
  uint8: Uint8Array
}

/** A tensor of a run: row-major `data` of product(dims) elements; float16 as its bits. Views of larger memory are fine. */
export type Tensor = {
  [T in keyof ArrayOf]: { readonly type: T; readonly dims: readonly number[]; readonly data: ArrayOf[T] }
}[keyof ArrayOf]

/**
 * What computes. Only 'cpu' is part of every installation. 'spexpand' is onnxruntime's CPU provider with our operators in
 * place of the portable functions.
 */
export type Provider = (typeof PROVIDERS)[number]
export const PROVIDERS = ['cpu', 'spexpand', 'cuda', 'webgpu'] as const

export type SessionOptions = {
  /** Threads inside one operator. */
  readonly threads: number
  /** Folder of the external data of a model given as bytes; a model given by path has it beside itself. */
  readonly folder?: string
  /** Copy constant weights into the layout of the kernels: faster products, twice the memory. @default true */
  readonly prepack?: boolean
  /** @default 'cpu' */
  readonly provider?: Provider
  /**
   * Let idle threads spin instead of sleep: lower latency, but they take the processor from other threads. Off with one
   * thread, where there is nobody to wait for. @default threads > 1
   */
  readonly spinning?: boolean
  /** Let idle threads stop spinning when a run ends: for sessions that take turns. @default false */
  readonly takesTurns?: boolean
}

/** A loaded model, ready to run. */
export type Session = {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * Runs the model. `fetches`: names of the outputs wanted (all by default), or tensors that the results are written
   * into. Inputs are not copied; they must stay unchanged until the promise settles.
   * Throws ShapeError when a tensor's data do not fit its dims.
   */
  run(feeds: Readonly<Record<string, Tensor>>, fetches?: Fetches): Promise<Record<string, Tensor>>
  /** Frees weights and memory; the session cannot be used any more. */
  release(): Promise<void>
}
/** Names, or by name a tensor to write into; null lets onnxruntime allocate it. */
export type Fetches = readonly string[] | Readonly<Record<string, Tensor | null>>

/**
 * Loads a model from bytes or from a file. There is no second provider: what the named one cannot run is an error.
 * Throws UnsupportedError when the provider is not installed or does not know an operator.
 */
export async function createSession(model: Uint8Array | string, options: SessionOptions): Promise<Session> {
  const provider = options.provider ?? 'cpu'
  if (provider === 'spexpand') registerProvider()
  else if (!ort.listSupportedBackends().some(({ name }) => name === provider))
    throw new UnsupportedError(
      `Cannot run on "${provider}": onnxruntime-node has no such provider here: ${REMEDY[provider]}`,
    )
  const sessionOptions = toOrtOptions(options, provider)
  let session: InferenceSession
  try {
    session =
      typeof model === 'string'
        ? await ort.InferenceSession.create(model, sessionOptions)
        : await ort.InferenceSession.create(model, sessionOptions)
  } catch (cause) {
    throw creationError(cause, provider, typeof model === 'string' ? model : 'a model in memory')
  }
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    async run(feeds, fetches) {
      const inputs = mapValues(feeds, toOrt)
      const results = await runSession(session, inputs, fetches)
      return mapValues(results as Readonly<Record<string, ort.Tensor>>, fromOrt)
    },
    release: () => session.release(),
  }
}

function toOrtOptions(options: SessionOptions, provider: Provider): InferenceSession.SessionOptions {
  const spinning = options.spinning ?? options.threads > 1
  return {
    executionProviders: [provider],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3, // errors only: warnings about folded constants are no news
    extra: {
      session: {
        disable_prepacking: options.prepack === false ? '1' : '0',
        intra_op: { allow_spinning: spinning ? '1' : '0' },
        ...(options.takesTurns ? { force_spinning_stop: '1' } : {}),
        ...(options.folder === undefined ? {} : { model_external_initializers_file_folder_path: options.folder }),
      },
    },
  }
}

function runSession(
  session: InferenceSession,
  inputs: Record<string, ort.Tensor>,
  fetches: Fetches | undefined,
): Promise<InferenceSession.OnnxValueMapType> {
  if (fetches === undefined) return session.run(inputs)
  if (isNames(fetches)) return session.run(inputs, fetches)
  return session.run(
    inputs,
    mapValues(fetches, (tensor, name) => (tensor === null ? null : toOrt(tensor, name))),
  )
}

function isNames(fetches: Fetches): fetches is readonly string[] {
  return Array.isArray(fetches)
}

function creationError(cause: unknown, provider: Provider, what: string): UnsupportedError {
  const reason = (cause instanceof Error ? cause.message : String(cause)).replaceAll(/\s+/g, ' ')
  const isMissing = /Failed to load (shared )?library|backend not found|not compiled|libvulkan|WebGPU adapter/i.test(
    reason,
  )
  return new UnsupportedError(
    isMissing
      ? `Cannot run on "${provider}": ${reason}: ${REMEDY[provider]}`
      : `Cannot load ${what} into onnxruntime (${provider}): ${reason}`,
    { cause },
  )
}

function toOrt(tensor: Tensor, name: string): ort.Tensor {
  if (tensor.data.length !== elementCount(tensor.dims))
    throw new ShapeError(
      `Cannot run with "${name}": got ${tensor.data.length} elements, its dims [${tensor.dims.join(', ')}] need ` +
        `${elementCount(tensor.dims)}`,
    )
  return new ort.Tensor(tensor.type, tensor.data, tensor.dims)
}

function fromOrt(tensor: ort.Tensor, name: string): Tensor {
  if (!isOurs(tensor.type)) throw new UnsupportedError(`Cannot read output "${name}": its type is ${tensor.type}`)
  return { type: tensor.type, dims: tensor.dims, data: tensor.data } as Tensor
}

function isOurs(type: string): type is Tensor['type'] {
  return ['float32', 'float16', 'int64', 'int32', 'bool', 'uint8'].includes(type)
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value, key)]))
}
