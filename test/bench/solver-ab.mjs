// The solver against another program, shape by shape in turns. Runs the built package: `npm run build` first.
//
//   SPEXPAND_BENCH_REFERENCE="python reference.py --bench-solver" node test/bench/solver-ab.mjs [--rounds 3] [--threads 2] [--json]
//
// The reference prints one JSON object a line for every shape it has measured: `out`, `in`, and seconds in fields that end in
// `_s`. It is stopped (SIGSTOP) after each line while ours solves the same shape, then goes on: so both meet the same
// machine within seconds. Without a reference ours runs alone. Both are the best of 3 in a round; medians over rounds.
import { spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { createRng } from '../../dist/src/linalg/rng.js'
import { createSolver } from '../../dist/src/prune/sparsegpt.js'
import { createBlas } from '../../dist/src/runtime/blas.js'
import { nativeProducts } from '../../dist/src/runtime/native-products.js'

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    json: { type: 'boolean' },
  },
})
const ROUNDS = Number(flags.rounds)
const THREADS = Number(flags.threads)
const REPEATS = 3
const SPARSITY = 0.7
const SHAPES = [
  [4096, 1024],
  [1536, 576],
  [576, 1536],
  [4096, 4096],
]

const products = { [`onnxruntime, ${THREADS} threads`]: await createBlas(THREADS) }
const native = nativeProducts()
if (native) products['AMX tiles, 1 thread'] = native

/** Seconds by form, best of some solves of a random problem; the same problem in every round. */
async function solveOurs(outputs, inputs) {
  const rng = createRng(inputs)
  const X = Float32Array.from({ length: 2 * inputs * inputs }, () => rng.normal())
  const W = Float32Array.from({ length: outputs * inputs }, () => rng.normal())
  const H = new Float32Array(inputs * inputs)
  const blas = Object.values(products)[0]
  await blas.gemm(inputs, inputs, 2 * inputs, X, X, H, { transA: true })
  for (let i = 0; i < inputs; i++) for (let j = 0; j < i; j++) H[i * inputs + j] = H[j * inputs + i]
  const seconds = {}
  for (const [name, blas] of Object.entries(products)) {
    const solver = createSolver(blas, inputs, outputs)
    const times = []
    for (let i = 0; i <= REPEATS; i++) {
      const start = performance.now()
      await solver.factor(H, inputs)
      await solver.prune(W, outputs, { kind: 'unstructured', sparsity: SPARSITY })
      times.push((performance.now() - start) / 1000)
    }
    // The first solve reserves memory.
    seconds[name] = Math.min(...times.slice(1))
  }
  return seconds
}

/** One round with the reference: `onShape` runs while it is stopped. */
async function alternate(command, onShape) {
  const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  // After its last line the reference may be gone before the signal is.
  const signal = (name) => {
    try {
      process.kill(-child.pid, name)
    } catch (error) {
      if (error.code !== 'ESRCH') throw error
    }
  }
  const stop = () => signal('SIGKILL')
  process.once('exit', stop)
  // A line may be read late: while one shape is being solved the reference does not go on to the next.
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue
    signal('SIGSTOP')
    await onShape(JSON.parse(line))
    signal('SIGCONT')
  }
  const code = await ended
  process.removeListener('exit', stop)
  if (code !== 0) throw new Error(`Cannot compare: the reference ended with ${code}: ${command}`)
}

/** Seconds by shape and form, one number a round. */
const measured = new Map()
function record(shape, who, seconds) {
  const key = shape.join(' x ')
  const forms = measured.get(key) ?? {}
  for (const [form, value] of Object.entries(seconds)) (forms[`${who}: ${form}`] ??= []).push(value)
  measured.set(key, forms)
}

const median = (list) => {
  const sorted = [...list].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const reference = process.env.SPEXPAND_BENCH_REFERENCE
for (let round = 0; round < ROUNDS; round++) {
  if (reference)
    await alternate(reference, async (line) => {
      const forms = Object.entries(line).filter(([name, value]) => name.endsWith('_s') && typeof value === 'number')
      if (forms.length === 0) return
      const shape = [line.out, line.in]
      record(shape, 'reference', Object.fromEntries(forms))
      record(shape, 'ours', await solveOurs(...shape))
    })
  else for (const shape of SHAPES) record(shape, 'ours', await solveOurs(...shape))
}

const result = {
  processor: cpus()[0]?.model,
  processors: cpus().length,
  threads: THREADS,
  rounds: ROUNDS,
  repeats: REPEATS,
  sparsity: SPARSITY,
  shapes: [...measured].map(([shape, forms]) => ({ shape, medianSeconds: mapValues(forms, median), seconds: forms })),
}

function mapValues(object, map) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]))
}

if (flags.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
else {
  process.stdout.write(`${result.processor}, ${THREADS} threads, ${ROUNDS} rounds of the best of ${REPEATS}, medians\n`)
  for (const { shape, seconds } of result.shapes) {
    process.stdout.write(`W ${shape} (out x in)\n`)
    const ours = Object.keys(seconds).filter((form) => form.startsWith('ours'))
    for (const [form, list] of Object.entries(seconds)) {
      // Ratios of one round first: the machine changes between rounds.
      const ratios = ours.map((name) => `${median(list.map((s, i) => s / seconds[name][i])).toFixed(2)}`)
      process.stdout.write(`  ${form.padEnd(36)} ${median(list).toFixed(4)} s  over ours: ${ratios.join(' · ')}\n`)
    }
  }
}
