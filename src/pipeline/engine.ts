import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import {
  attentionModel,
  denseFfnModel,
  downWithWeightsModel,
  embedModel,
  ffnUpdateModel,
  ffnWithWeightsModel,
  gatedIntermediateModel,
  intermediateWithWeightsModel,
} from '../graph/models.ts'
import { measureModel } from '../graph/measure.ts'
import { withTileProducts } from '../graph/tiles.ts'
import type { OpenedModel } from '../model/open.ts'
import { assertFinite, openModel } from '../model/open.ts'
import { weightGram } from '../prune/loss.ts'
import type { Solver } from '../prune/sparsegpt.ts'
import { createSolver } from '../prune/sparsegpt.ts'
import { createBlas } from '../runtime/blas.ts'
import type { NativeProducts } from '../runtime/native-products.ts'
import { nativeProducts } from '../runtime/native-products.ts'
import type { Session } from '../runtime/session.ts'
import { createSession } from '../runtime/session.ts'
import type { Blas } from '../tensor/blas.ts'
import { moments, projectPart, routePart } from './cluster-jobs.ts'
import { entangleJob } from './entangle/work.ts'
import { attention, denseFfn, embed, intermediate, propagate, propagateDown } from './forward-jobs.ts'
import type { EngineInit, Job, MatrixName } from './jobs.ts'
import { ROLES } from './jobs.ts'
import { gram, solve } from './solve-jobs.ts'
import { Written } from './written.ts'

const NOTHING: { result: unknown; transfer: ArrayBuffer[] } = { result: undefined, transfer: [] }

/** A result whose memory goes to the caller instead of being copied. */
function handOver(result: Float32Array | Uint8Array): { result: unknown; transfer: ArrayBuffer[] } {
  return { result, transfer: [result.buffer as ArrayBuffer] }
}

/** The graphs a job can run. Those with weights belong to one layer and are dropped when the next one begins. */
export type SessionKind =
  | 'embed'
  | 'attention'
  | 'denseFfn'
  | 'intermediate'
  | 'prunedFfn'
  | 'prunedIntermediate'
  | 'prunedDown'
  | 'ffnUpdate'
  | 'measure'

/** Stages that share nothing but the hidden states. */
type Phase = 'embed' | 'attention' | 'ff'

function phaseOf(kind: SessionKind): Phase {
  return kind === 'embed' || kind === 'attention' ? kind : 'ff'
}

/** What one thread keeps between jobs: the opened model, sessions of the current layer, the solver's memory. */
export class Engine {
  readonly model: OpenedModel
  private readonly sessions = new Map<SessionKind, { layer: number; session: Promise<Session> }>()
  private readonly denseMatrices = new Map<MatrixName, { W: Float32Array; G: Float32Array }>()
  private denseLayer = -1
  private phase: Phase = 'embed'
  /** Products on matrix units, where they are there and wanted. */
  readonly native: NativeProducts | undefined
  private blasReady: Promise<Blas> | undefined
  private solverReady: Promise<Solver> | undefined

  constructor(init: EngineInit) {
    this.model = openModel(init.modelFolder)
    this.native = init.native ? nativeProducts() : undefined
  }

  /**
   * Runs one job; `transfer` lists buffers of the result that are handed over instead of copied. `written` says how far
   * an earlier try of the job came.
   */
  async run(job: Job, written = new Written()): Promise<{ result: unknown; transfer: ArrayBuffer[] }> {
    await this.enter(job.kind === 'embed' ? 'embed' : job.kind === 'attention' ? 'attention' : 'ff')
    switch (job.kind) {
      case 'embed':
        await embed(this, job)
        return NOTHING
      case 'attention':
        await attention(this, job, written)
        return NOTHING
      case 'denseFfn':
        await denseFfn(this, job, written)
        return NOTHING
      case 'intermediate':
        await intermediate(this, job)
        return NOTHING
      case 'propagate':
        await propagate(this, job, written)
        return NOTHING
      case 'propagateDown':
        await propagateDown(this, job, written)
        return NOTHING
      case 'gram':
        return handOver(await gram(this, job))
      case 'solve':
        return { result: await solve(this, job), transfer: [] }
      case 'moments':
        return { result: await moments(this, job), transfer: [] }
      case 'project':
        return handOver(await projectPart(this, job))
      case 'route':
        return handOver(await routePart(this, job))
      default:
        return { result: await entangleJob(this, job), transfer: [] }
    }
  }

  /**
   * Stages of a block follow each other and none comes back before the next block: what the last one held (weights in
   * every form, the largest part of a worker's memory) goes before this one begins.
   */
  private async enter(phase: Phase): Promise<void> {
    if (this.phase === phase) return
    this.phase = phase
    if (phase !== 'ff') this.denseMatrices.clear()
    for (const [kind, { session }] of this.sessions) {
      if (phaseOf(kind) === phase) continue
      this.sessions.delete(kind)
      await (await session).release()
    }
  }

  /** Frees the sessions; a worker ends instead. */
  async close(): Promise<void> {
    for (const { session } of this.sessions.values()) await (await session).release()
    this.sessions.clear()
    this.model.close()
  }

  /** The session of a graph, made on first use; the graphs of another layer are released. */
  async session(kind: SessionKind, layer = -1): Promise<Session> {
    const held = this.sessions.get(kind)
    if (held?.layer === layer) return held.session
    if (held) await (await held.session).release()
    const graph = this.graphOf(kind, layer)
    const session = createSession(encodeModel(this.native ? withTileProducts(graph, true) : graph), {
      threads: 1,
      folder: this.model.dataFolder,
      ...(this.native ? { provider: 'spexpand' } : {}),
    })
    this.sessions.set(kind, { layer, session })
    return session
  }

  /**
   * The dense weights (out, in) of an FF matrix, checked for NaN and Inf, and WᵀW; kept for the current layer, where every
   * expert starts from them.
   */
  async dense(matrix: MatrixName, layer: number): Promise<{ W: Float32Array; G: Float32Array }> {
    if (this.denseLayer !== layer) this.denseMatrices.clear()
    this.denseLayer = layer
    const held = this.denseMatrices.get(matrix)
    if (held) return held
    const name = this.model.tensorName(ROLES[matrix], layer)
    const W = this.model.matrix(ROLES[matrix], layer)
    assertFinite(W, name)
    const { hidden, ff } = this.model.config
    const [outputs, inputs] = matrix === 'down_proj' ? [hidden, ff] : [ff, hidden]
    const made = { W, G: await weightGram(await this.blas(), W, outputs, inputs) }
    this.denseMatrices.set(matrix, made)
    return made
  }

  /** Matrix products on this thread. */
  blas(): Promise<Blas> {
    this.blasReady ??= this.native ? Promise.resolve(this.native) : createBlas(1)
    return this.blasReady
  }

  /** The solver with memory for the largest FF matrix of the model. */
  solver(): Promise<Solver> {
    const { hidden, ff } = this.model.config
    this.solverReady ??= this.blas().then((blas) => createSolver(blas, Math.max(hidden, ff), Math.max(hidden, ff)))
    return this.solverReady
  }

  private graphOf(kind: SessionKind, layer: number): Model {
    switch (kind) {
      case 'embed':
        return embedModel(this.model)
      case 'attention':
        return attentionModel(this.model, layer)
      case 'denseFfn':
        return denseFfnModel(this.model, layer)
      case 'intermediate':
        return gatedIntermediateModel(this.model, layer)
      case 'prunedFfn':
        return ffnWithWeightsModel(this.model.config)
      case 'prunedIntermediate':
        return intermediateWithWeightsModel(this.model.config)
      case 'prunedDown':
        return downWithWeightsModel(this.model.config)
      case 'ffnUpdate':
        return ffnUpdateModel(this.model, layer)
      case 'measure':
        return measureModel(this.model, layer)
    }
  }
}
