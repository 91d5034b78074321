import type { InferenceSession } from 'onnxruntime-node'
import ort from 'onnxruntime-node'
import { ShapeError } from '../errors.ts'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model, ValueInfo } from '../formats/onnx/types.ts'
import type { Blas, GemmOptions } from '../tensor/blas.ts'

/** Sessions kept: one per combination of flags. alpha and beta are attributes, so a caller that varies them evicts. */
const MAX_SESSIONS = 16
/**
 * onnxruntime shares a product that is wider than high out by columns, and sums up slices of 64 columns or fewer in
 * longer runs than wide ones (MlasSgemm). A product that could be cut so narrow runs on one thread: the same bytes with
 * any number of threads.
 */
const MIN_SLICE = 96

/**
 * Matrix products by onnxruntime's CPU kernels on `threads` threads. Operands are read where they lie and C is written
 * in place, also in WebAssembly memory (not in a SharedArrayBuffer, which onnxruntime rejects). A product blocks this
 * thread until it is done; its result does not depend on `threads`. One product at a time.
 */
export async function createBlas(threads: number): Promise<Blas> {
  const sessions = new Map<string, Promise<InferenceSession>>()
  const session = (flags: Flags, threads: number): Promise<InferenceSession> => {
    const key = `${flags.transA} ${flags.transB} ${flags.alpha} ${flags.beta} ${threads}`
    const created = sessions.get(key) ?? ort.InferenceSession.create(encodeModel(gemmModel(flags)), options(threads))
    // Last used comes last: Map keeps insertion order.
    sessions.delete(key)
    sessions.set(key, created)
    if (sessions.size > MAX_SESSIONS) release(sessions)
    return created
  }
  await session(flagsOf({}), threads)
  return {
    async gemm(m, n, k, A, B, C, gemmOptions = {}) {
      const flags = flagsOf(gemmOptions)
      checkLengths(m, n, k, A, B, C)
      const a = new ort.Tensor('float32', A, flags.transA ? [k, m] : [m, k])
      const b = new ort.Tensor('float32', B, flags.transB ? [n, k] : [k, n])
      const c = new ort.Tensor('float32', C, [m, n])
      const isNarrow = n > m && n < threads * MIN_SLICE
      const run = await session(flags, isNarrow ? 1 : threads)
      await run.run(flags.beta === 0 ? { A: a, B: b } : { A: a, B: b, C: c }, { Y: c })
    },
  }
}

type Flags = Readonly<Required<Omit<GemmOptions, 'fast'>>>

function flagsOf({ transA = false, transB = false, alpha = 1, beta = 0 }: GemmOptions): Flags {
  return { transA, transB, alpha, beta }
}

function options(threads: number): InferenceSession.SessionOptions {
  return {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    // Results go to the caller's buffers: an arena would only hold memory, and plans per shape would pile up.
    enableCpuMemArena: false,
    enableMemPattern: false,
    logSeverityLevel: 3,
    // Every session has its own threads; those that spin after their product would take a core from the next one.
    extra: { session: { force_spinning_stop: '1' } },
  }
}

function release(sessions: Map<string, Promise<InferenceSession>>): void {
  const [oldest, created] = sessions.entries().next().value!
  sessions.delete(oldest)
  void created.then((old) => old.release())
}

/** One Gemm node: Y = alpha · op(A) op(B) + beta · C. */
function gemmModel({ transA, transB, alpha, beta }: Flags): Model {
  const names = beta === 0 ? ['A', 'B'] : ['A', 'B', 'C']
  return {
    irVersion: 10,
    producerName: 'spexpand',
    producerVersion: '',
    opsetImport: [{ domain: '', version: 21 }],
    graph: {
      name: 'gemm',
      node: [
        {
          name: 'Gemm',
          opType: 'Gemm',
          domain: '',
          input: names,
          output: ['Y'],
          attribute: [
            { name: 'alpha', type: 'float', f: alpha },
            { name: 'beta', type: 'float', f: beta },
            { name: 'transA', type: 'int', i: Number(transA) },
            { name: 'transB', type: 'int', i: Number(transB) },
          ],
        },
      ],
      initializer: [],
      input: names.map(matrix),
      output: [matrix('Y')],
      valueInfo: [],
    },
    functions: [],
    metadataProps: [],
  }
}

function matrix(name: string): ValueInfo {
  return { name, type: 'float', shape: [`${name}0`, `${name}1`] }
}

function checkLengths(m: number, n: number, k: number, A: Float32Array, B: Float32Array, C: Float32Array): void {
  if (A.length === m * k && B.length === k * n && C.length === m * n) return
  throw new ShapeError(
    `Cannot multiply (${m}, ${k}) by (${k}, ${n}): operands hold ${A.length}, ${B.length} and ${C.length} numbers, ` +
      `expected ${m * k}, ${k * n} and ${m * n}`,
  )
}
