import { FormatError, InterruptedError } from '../../errors.ts'
import { encodeModel } from '../../formats/onnx/encode.ts'
import type { Model, Node, ValueInfo } from '../../formats/onnx/types.ts'
import type { Provider, Session, Tensor } from '../../runtime/session.ts'
import { createSession } from '../../runtime/session.ts'
import { ffLayers } from '../../verify/ff-layers.ts'
import { feedsOf } from '../../verify/hidden.ts'
import { extract } from '../../verify/submodel.ts'
import type { Walk, WalkOptions } from './walk.ts'

/** Names of the values around the FF layer of a block in a decoder graph. */
type BlockValues = {
  /** What enters the block, and the same with attention added: (tokens, hidden). */
  readonly hidden: string
  readonly residual: string
  /** FF input (tokens, hidden), intermediate (tokens, ff), what is added to the hidden states (tokens, hidden). */
  readonly x: string
  readonly z: string
  readonly y: string
  /** Expert of every token where the down projection uses the one of gate and up; absent without such a router. */
  readonly expert?: string
}

/** Tokens of one run, in whole windows. */
const CHUNK_TOKENS = 2048

type BlockSessions = {
  readonly values: BlockValues
  readonly attention: Session
  readonly intermediate: Session
  readonly down: Session
}

/**
 * The walk of openWalk() through an artifact: every block in three pieces cut out of the artifact's own graph, the routers
 * among them. A down projection with a router of its own routes by what `onFf` leaves of the intermediates.
 */
export async function openArtifactWalk(
  graph: Model,
  options: { readonly folder: string; readonly threads: number; readonly provider: Provider },
): Promise<Walk> {
  const blocks = blockValues(graph, options.folder)
  const sessions: Session[] = []
  const open = async (inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Promise<Session> => {
    const part = extract(graph, inputs, outputs)
    const session = await createSession(encodeModel(part), { ...options, takesTurns: true })
    sessions.push(session)
    return session
  }
  const release = async (): Promise<void> => {
    for (const session of sessions) await session.release()
  }
  try {
    const embed = await open(
      graph.graph.input.filter(({ name }) => name === 'input_ids'),
      [rows(blocks[0]!.hidden)],
    )
    const layers: BlockSessions[] = []
    for (const values of blocks) {
      const expert: ValueInfo[] =
        values.expert === undefined ? [] : [{ name: values.expert, type: 'int64', shape: ['tokens'] }]
      layers.push({
        values,
        // Without a norm in front of the FF layer both are one value.
        attention: await open([rows(values.hidden)], [...new Set([values.residual, values.x])].map(rows)),
        intermediate: await open([rows(values.x)], [rows(values.z), ...expert]),
        down: await open([rows(values.z), ...expert], [rows(values.y)]),
      })
    }
    return { run: (walked) => walk(graph, embed, layers, walked), release }
  } catch (error) {
    await release()
    throw error
  }
}

const rows = (name: string): ValueInfo => ({ name, type: 'float', shape: ['tokens', ''] })

/**
 * Where blocks begin and end in a graph. Biases, norms and scales behind a product belong to what is added to the hidden
 * states. Throws FormatError when an FF output is not added to a residual.
 */
function blockValues({ graph, ...model }: Model, file: string): BlockValues[] {
  const producers = new Map(graph.node.flatMap((one) => one.output.map((name) => [name, one] as const)))
  const ofTokens = descendants(
    graph.node,
    graph.input.map(({ name }) => name),
  )
  const summed = (add: Node | undefined, what: string): Node => {
    if (add?.opType === 'Add') return add
    throw new FormatError(`Cannot walk through ${file}: ${what} is not added to a residual`)
  }
  return ffLayers({ graph, ...model }, file).map(({ layer, input, output, up, down }) => {
    const ofFf = descendants(graph.node, [output])
    const isResidual = (name: string): boolean => ofTokens.has(name) && !ofFf.has(name)
    const sum = summed(
      graph.node.find((one) => one.opType === 'Add' && one.input.some(isResidual) && ofFf.has(one.output[0]!)),
      `the FF output of block ${layer}`,
    )
    const residual = sum.input.find(isResidual)!
    const expert = up.node.input[1]!
    const isShared = down.node.input[1] === expert && producers.get(expert)?.opType === 'ArgMax'
    return {
      hidden: summed(producers.get(residual), `the attention of block ${layer}`).input[0]!,
      residual,
      x: input,
      z: down.node.input[0]!,
      y: sum.input.find((name) => ofFf.has(name))!,
      ...(isShared ? { expert } : {}),
    }
  })
}

/** Names of the values that depend on some of these, which are among them. Nodes of a graph are in order. */
function descendants(nodes: readonly Node[], names: readonly string[]): Set<string> {
  const reached = new Set(names)
  for (const { input, output } of nodes)
    if (input.some((name) => reached.has(name))) for (const name of output) reached.add(name)
  return reached
}

async function walk(
  { graph }: Model,
  embed: Session,
  layers: readonly BlockSessions[],
  { windows, onFf, from, onHidden, signal }: WalkOptions,
): Promise<Float32Array> {
  const { nWindows, sequenceLength: T } = windows
  const inputs = (session: Session, first: number, end: number): Record<string, Tensor> => {
    const needed = graph.input.filter(({ name }) => session.inputNames.includes(name))
    return feedsOf(needed, windows, first, end)
  }
  const hidden = from
    ? from.hidden.slice()
    : floats((await embed.run(inputs(embed, 0, nWindows)))[embed.outputNames[0]!]).slice()
  const d = hidden.length / (nWindows * T)
  const step = Math.max(1, Math.floor(CHUNK_TOKENS / T))
  for (let layer = from?.layer ?? 0; layer < layers.length; layer++) {
    if (signal?.aborted) throw new InterruptedError('Interrupted while measuring: run the same command again')
    onHidden?.(layer, hidden)
    for (let first = 0; first < nWindows; first += step) {
      const end = Math.min(first + step, nWindows)
      const part = hidden.subarray(first * T * d, end * T * d)
      await throughBlock(
        layers[layer]!,
        part,
        (session) => inputs(session, first, end),
        async (x, z) => {
          await onFf?.({ layer, firstWindow: first, windows: end - first, x, z })
        },
      )
    }
  }
  return hidden
}

/** hidden (tokens, d) += attention, then += down(z). */
async function throughBlock(
  { values, attention, intermediate, down }: BlockSessions,
  hidden: Float32Array,
  inputs: (session: Session) => Record<string, Tensor>,
  onFf: (x: Float32Array, z: Float32Array) => Promise<void>,
): Promise<void> {
  const run = (session: Session, given: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> =>
    session.run({ ...inputs(session), ...given })
  const d = widthOf(hidden, inputs(attention))
  const attended = await run(attention, { [values.hidden]: tokens(hidden, d) })
  hidden.set(floats(attended[values.residual]))
  const x = floats(attended[values.x])
  const made = await run(intermediate, { [values.x]: tokens(x, d) })
  const z = floats(made[values.z])
  await onFf(x, z)
  const experts = values.expert === undefined ? {} : { [values.expert]: made[values.expert]! }
  const y = floats((await run(down, { ...experts, [values.z]: tokens(z, z.length / (hidden.length / d)) }))[values.y])
  for (let i = 0; i < hidden.length; i++) hidden[i] += y[i]!
}

function tokens(data: Float32Array, width: number): Tensor {
  return { type: 'float32', dims: [data.length / width, width], data }
}

/** Numbers of one token, from the attention mask that every attention piece has. */
function widthOf(hidden: Float32Array, feeds: Readonly<Record<string, Tensor>>): number {
  return hidden.length / feeds['attention_mask']!.data.length
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (tensor?.type !== 'float32') throw new TypeError(`Expected a float32 output, got ${tensor?.type}`)
  return tensor.data
}
