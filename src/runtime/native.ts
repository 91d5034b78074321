import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UnsupportedError } from '../errors.ts'
import { REMEDY } from './remedy.ts'

/** What src/native/addon exports. Everything throws Error with one line. */
export type NativeAddon = NativeSessions & NativeGemm
export type NativeSessions = {
  /** Opaque handle of a session that has the operator library registered; it is freed with the handle. */
  createSession(options: NativeSessionOptions): NativeSession
  describeSession(session: NativeSession): { readonly inputs: NativeValue[]; readonly outputs: NativeValue[] }
  /** Runs on this thread until done. `outputs[i]` null: onnxruntime allocates it. */
  runSession(
    session: NativeSession,
    inputs: readonly (readonly [string, NativeTensor])[],
    outputs: readonly (readonly [string, NativeTensor | null])[],
  ): NativeTensor[]
  /** Frees the session at once; it cannot be used any more. */
  releaseSession(session: NativeSession): void
  /** Version of the onnxruntime library at `path`, which must be loaded already. */
  runtimeVersion(path: string): string
  /** Bytes per second of reading `bytes` of memory on `threads` threads, best of `rounds`. */
  readBandwidth(bytes: number, threads: number, rounds: number): number
}
/** Products on the calling thread, row-major (src/native/gemm). `fast`: 16 bits of mantissa will do. */
export type NativeGemm = {
  /** C = alpha · op(A) op(B) + beta · C. */
  gemm(
    m: number,
    n: number,
    k: number,
    A: Float32Array,
    B: Float32Array,
    C: Float32Array,
    transA: boolean,
    transB: boolean,
    alpha: number,
    beta: number,
    fast: boolean,
  ): void
  /** The lower triangle of S (n, n) += Xᵀ X, X (rows, n). */
  gram(rows: number, n: number, X: Float32Array, S: Float32Array, parts: number): void
  /** gate = silu(gate) · up, element by element. */
  siluMultiply(gate: Float32Array, up: Float32Array): void
  /** What they are computed with. */
  gemmIsa(): 'amx' | 'avx512' | 'avx2' | 'scalar'
}
export type NativeSession = { readonly nativeSession: unique symbol }
export type NativeSessionOptions = {
  /** The libonnxruntime that onnxruntime-node has loaded, and the operator library. */
  readonly runtime: string
  readonly operators: string
  readonly model: string | Uint8Array
  readonly threads: number
  /** GraphOptimizationLevel of the C API: 0 none, 1 basic, 2 extended, 99 all. */
  readonly optimization: number
  readonly memoryArena: boolean
  readonly memoryPattern: boolean
  readonly logSeverity: number
  /** Session configuration entries, e.g. ['session.disable_prepacking', '1']. */
  readonly config: readonly (readonly [string, string])[]
}
/** An input or output: dims are numbers or symbols; type 0 is no tensor. */
export type NativeValue = { readonly name: string; readonly type: number; readonly dims: (number | string)[] }
/** A tensor by its ONNX element type number; bytes are read and written where they lie. */
export type NativeTensor = {
  readonly type: number
  readonly dims: readonly number[]
  readonly data: ArrayBufferView | ArrayBuffer
}

/** Whether the addon is there, and the operator library beside it. */
export type NativeStatus =
  | { readonly found: true; readonly addon: NativeAddon; readonly addonPath: string; readonly operatorsPath?: string }
  | { readonly found: false; readonly because: string; readonly remedy: string }

const LIBRARY_SUFFIX: Readonly<Record<string, string>> = { darwin: '.dylib', win32: '.dll' }
const ADDON = 'spexpand.node'

let status: NativeStatus | undefined

/** The native parts: built here (dist/native), else prebuilt for this platform (prebuilds/). Looked for once. */
export function nativeStatus(): NativeStatus {
  return (status ??= findNative())
}

/** The addon and the operator library. Throws UnsupportedError with how to get them. */
export function requireNative(): { readonly addon: NativeAddon; readonly operatorsPath: string } {
  const native = nativeStatus()
  if (!native.found) throw new UnsupportedError(`Cannot run on "spexpand": ${native.because}: ${native.remedy}`)
  const { addon, addonPath, operatorsPath } = native
  if (operatorsPath === undefined)
    throw new UnsupportedError(
      `Cannot run on "spexpand": there is no operator library beside ${addonPath}: ${REMEDY.spexpand}`,
    )
  return { addon, operatorsPath }
}

/** Path of the onnxruntime library beside the binding that onnxruntime-node has loaded. */
export function runtimeLibrary(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node')
  const folder = join(dirname(dirname(main)), 'bin', 'napi-v6', process.platform, process.arch)
  const names = existsSync(folder) ? readdirSync(folder) : []
  const name = names.find((file) =>
    /^(libonnxruntime\.so\.\d+|libonnxruntime\.\d+\.dylib|onnxruntime\.dll)$/.test(file),
  )
  if (name === undefined)
    throw new UnsupportedError(`Cannot find the library of onnxruntime in ${folder}: reinstall onnxruntime-node`)
  return join(folder, name)
}

function findNative(): NativeStatus {
  const platform = `${process.platform}-${process.arch}`
  const folders = [join(packageRoot(), 'dist', 'native'), join(packageRoot(), 'prebuilds', platform)]
  const folder = folders.find((candidate) => existsSync(join(candidate, ADDON)))
  if (folder === undefined)
    return {
      found: false,
      because: `the native kernels are neither built (dist/native) nor prebuilt for ${platform}`,
      remedy: REMEDY.spexpand,
    }
  const addonPath = join(folder, ADDON)
  const operatorsPath = join(folder, `libspexpand_ops${LIBRARY_SUFFIX[process.platform] ?? '.so'}`)
  try {
    const addon = createRequire(import.meta.url)(addonPath) as NativeAddon
    return { found: true, addon, addonPath, ...(existsSync(operatorsPath) ? { operatorsPath } : {}) }
  } catch (cause) {
    const reason = (cause as Error).message.replaceAll(/\s+/g, ' ')
    return { found: false, because: `the native kernels do not load here: ${reason}`, remedy: REMEDY.spexpand }
  }
}

/** The package, seen from src/runtime (tests) and from dist/src/runtime (built). */
function packageRoot(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../..' : '../../..', import.meta.url))
}
