// Our operators against dense onnxruntime: one gated FFN whose weights are not in any cache, one token at a time, and a prompt
// of 512 tokens over 16 experts. Needs `npm run build:native`. By environment variable:
//   SPEXPAND_BENCH_SHAPES   hidden x ff x FFNs in the chain (default 576x1536x24 2048x5632x4 4096x11008x1)
//   SPEXPAND_BENCH_PROMPTS  the same for the prompt (default 576x1536x2 2048x5632x1)
//   SPEXPAND_BENCH_THREADS  default 1 2
//   SPEXPAND_BENCH_ROUNDS   default 15
//   SPEXPAND_BENCH_CLOCK    wall (default), or cpu: processor time of all threads, where others keep the machine busy
//   SPEXPAND_BENCH_ISAS     our instruction sets, for example avx512 avx2 (default: the best of this processor)
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { expect, it } from 'vitest'
import type { Provider, Session, Tensor } from '../../src/runtime/session.ts'
import { createSession } from '../../src/runtime/session.ts'
import { nativeStatus } from '../../src/runtime/native.ts'
import { measureBandwidth } from '../../src/verify/bandwidth.ts'
import type { Timing } from '../../src/verify/timing.ts'
import { timeInTurns } from '../../src/verify/timing.ts'
import type { ProductOf, Shape } from './ffn-chain.ts'
import { denseBits, denseF32, ffnChain, sparse } from './ffn-chain.ts'
import type { Pool } from './random.ts'
import { createPool } from './random.ts'

const SPARSITY = 0.7
const PROMPT = { tokens: 512, experts: 16 }
const WARM_UP = 2
const NAME_WIDTH = 26

const words = (name: string, otherwise: string): string[] => (process.env[name] ?? otherwise).trim().split(/\s+/)

/** `isa`: what SPEXPAND_ISA names while the session is made. */
type Engine = { readonly name: string; readonly provider: Provider; readonly product: ProductOf; readonly isa: string }
const dense = (name: string, product: ProductOf): Engine => ({ name, product, provider: 'cpu', isa: '' })
const SPARSE: readonly (readonly [string, ProductOf])[] = [
  ['f16', sparse('f16', 0)],
  ['int8', sparse('int8', 0)],
  ['int4, 128', sparse('int4', 128)],
  ['int4, 32', sparse('int4', 32)],
]
const ENGINES: readonly Engine[] = [
  dense('onnxruntime f32', denseF32),
  dense('onnxruntime 8-bit', denseBits(8)),
  dense('onnxruntime 4-bit', denseBits(4)),
  ...words('SPEXPAND_BENCH_ISAS', '').flatMap((isa) =>
    SPARSE.map(([type, product]): Engine => {
      return { name: `spexpand ${type}${isa && ` ${isa}`}`, product, provider: 'spexpand', isa }
    }),
  ),
]

const SHAPES = words('SPEXPAND_BENCH_SHAPES', '576x1536x24 2048x5632x4 4096x11008x1').map((text) => shapeOf(text, 1))
const PROMPTS = words('SPEXPAND_BENCH_PROMPTS', '576x1536x2 2048x5632x1').map((text) => shapeOf(text, PROMPT.experts))
const THREADS = words('SPEXPAND_BENCH_THREADS', '1 2').map(Number)
const ROUNDS = Number(process.env['SPEXPAND_BENCH_ROUNDS'] ?? 15)
const CLOCK = process.env['SPEXPAND_BENCH_CLOCK'] ?? 'wall'
/** Loading gigabytes and running them many times. */
const TIMEOUT = 3_600_000

it('says where it runs', () => {
  const native = nativeStatus()
  expect(native).toMatchObject({ found: true })
  const runtime = new URL('../../node_modules/onnxruntime-node/package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(runtime, 'utf8')) as { version: string }
  print(
    `\n${cpus()[0]?.model}, ${cpus().length} processors, Node ${process.version}, onnxruntime-node ${version}`,
    `One gated FFN, medians of ${ROUNDS} rounds in turns with quartiles, ms per FFN by ${CLOCK} clock.`,
    `spexpand: ${SPARSITY * 100} % zeros.`,
    'Bytes are those of the weights one token reads; in brackets the share of the measured read bandwidth.',
  )
})

const cases = (shapes: readonly Shape[]): [string, Shape, number][] =>
  shapes.flatMap((shape) => THREADS.map((threads): [string, Shape, number] => [titleOf(shape), shape, threads]))

it.each(cases(SHAPES))(
  'one token: %s',
  async (title, shape, threads) => {
    const { bytes, timings } = await measure(ENGINES, shape, threads, 1)
    const bandwidth = measureBandwidth(threads)
    const roof = 'bytesPerSecond' in bandwidth ? bandwidth.bytesPerSecond : NaN
    print(`\none token, ${title}, ${threads} threads; memory is read at ${(roof / 1e9).toFixed(1)} GB/s`)
    ENGINES.forEach(({ name }, i) => {
      const rate = bytes[i]! / (timings[i]!.medianMs / 1000)
      print(`${rowOf(name, timings, i)}  ${(rate / 1e9).toFixed(1)} GB/s (${Math.round((100 * rate) / roof)} %)`)
    })
  },
  TIMEOUT,
)

it.each(cases(PROMPTS))(
  `${PROMPT.tokens} tokens, ${PROMPT.experts} experts: %s`,
  async (title, shape, threads) => {
    const { timings } = await measure(ENGINES, shape, threads, PROMPT.tokens)
    print(`\n${PROMPT.tokens} tokens, ${PROMPT.experts} experts, ${title}, ${threads} threads`)
    ENGINES.forEach(({ name }, i) => print(rowOf(name, timings, i)))
  },
  TIMEOUT,
)

/** Times all engines in turns: between two turns of one the others have read more than any cache holds. */
async function measure(
  engines: readonly Engine[],
  shape: Shape,
  threads: number,
  tokens: number,
): Promise<{ bytes: number[]; timings: Timing[] }> {
  const pool = createPool(0, 1 - SPARSITY)
  const sessions: Session[] = []
  const bytes: number[] = []
  try {
    for (const engine of engines) {
      const { session, bytesPerFfn } = await load(engine, shape, threads, pool)
      sessions.push(session)
      bytes.push(bytesPerFfn)
    }
    const feeds = feedsOf(shape, tokens)
    const run = sessions.map((session) => () => session.run(present(feeds, session)))
    const timings = await timeInTurns(run, { warmUp: WARM_UP, rounds: ROUNDS, now: clockOf(CLOCK) })
    return { bytes, timings: timings.map((timing) => perFfn(timing, shape.count)) }
  } finally {
    for (const session of sessions) await session.release()
  }
}

/** Milliseconds. */
function clockOf(name: string): () => number {
  if (name === 'wall') return () => performance.now()
  if (name !== 'cpu') throw new Error(`SPEXPAND_BENCH_CLOCK is "${name}", expected wall or cpu`)
  return () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
}

/** A dense form has one expert, whatever the shape says. */
async function load(
  { provider, product, isa }: Engine,
  shape: Shape,
  threads: number,
  pool: Pool,
): Promise<{ session: Session; bytesPerFfn: number }> {
  const experts = provider === 'spexpand' ? shape.experts : 1
  const { model, bytesPerFfn } = ffnChain({ ...shape, experts }, product, pool)
  // Kernels choose their instruction set when their node is made.
  if (isa) process.env['SPEXPAND_ISA'] = isa
  // Idle threads of an engine that is not on turn must not take a core from the one that is.
  return { session: await createSession(model, { provider, threads, takesTurns: true }), bytesPerFfn }
}

/** Small inputs, because the chain has no norms: infinities and subnormal numbers would take other times. */
function feedsOf({ hidden, experts }: Shape, tokens: number): Record<string, Tensor> {
  return {
    x: { type: 'float32', dims: [tokens, hidden], data: new Float32Array(tokens * hidden).fill(1e-4) },
    // Experts come in turns: as many tokens for each, no two of them beside each other.
    expert: {
      type: 'int64',
      dims: [tokens],
      data: BigInt64Array.from({ length: tokens }, (_, t) => BigInt(t % experts)),
    },
  }
}

/** Dense graphs have no use for experts, and onnxruntime drops the input. */
function present(feeds: Readonly<Record<string, Tensor>>, session: Session): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => session.inputNames.includes(name)))
}

function perFfn({ medianMs, q1Ms, q3Ms, runs }: Timing, count: number): Timing {
  return { medianMs: medianMs / count, q1Ms: q1Ms / count, q3Ms: q3Ms / count, runs }
}

function rowOf(name: string, timings: readonly Timing[], i: number): string {
  const { medianMs, q1Ms, q3Ms } = timings[i]!
  const over = (other: string): string => {
    const index = ENGINES.findIndex((engine) => engine.name === `onnxruntime ${other}`)
    return `${(timings[index]!.medianMs / medianMs).toFixed(2).padStart(6)} x ${other}`
  }
  return `  ${name.padEnd(NAME_WIDTH)}${ms(medianMs)} ms [${ms(q1Ms)},${ms(q3Ms)}]${over('f32')}${over('8-bit')}${over('4-bit')}`
}

function ms(value: number): string {
  return value.toPrecision(3).padStart(7)
}

function shapeOf(text: string, experts: number): Shape {
  const [hidden, ff, count] = text.split('x').map(Number)
  return { hidden: hidden!, ff: ff!, count: count!, experts }
}

function titleOf({ hidden, ff, count }: Shape): string {
  return `${hidden} -> ${ff}, ${count} in a chain`
}

function print(...lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`)
}
