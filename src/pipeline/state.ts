import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../errors.ts'
import { writeFileWhole } from '../formats/bytes.ts'
import type { TensorFile } from '../formats/safetensors/reader.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import type { Router } from '../cluster/router.ts'
import type { PackedExpert } from '../mixture/expert.ts'
import type { ExpertStack } from '../mixture/stack.ts'
import { expertAt } from '../mixture/stack.ts'
import type { ValueForm } from '../mixture/values.ts'
import type { OpenedModel } from '../model/open.ts'
import { matOf } from '../tensor/mat.ts'
import type { StoredMatrix } from './block-check.ts'
import { checkBlock, readFingerprint } from './block-check.ts'
import { writeBlock } from './block-writer.ts'
import type { MatrixName } from './jobs.ts'
import { matricesOf, ROLES } from './jobs.ts'
import type { Lock } from './lock.ts'
import { acquireLock } from './lock.ts'
import type { BlockStats, Fallback } from './types.ts'

/** Folder inside the artifact folder that holds finished blocks until the artifact is complete. */
const STATE_FOLDER = '.spexpand'
const RUN_FILE = 'run.json'

/** One finished block: everything later stages need, and everything that a resumed run needs. */
export type FinishedBlock = {
  readonly stats: BlockStats
  readonly fallbacks: readonly Fallback[]
  /** Expert of a token from its FF input; absent with one expert. */
  readonly router?: Router
  /** Split router only: expert of the down projection from the intermediate. */
  readonly downRouter?: Router
  /** One entry per expert. */
  readonly experts: Readonly<Record<MatrixName, readonly PackedExpert[]>>
}

/** What makes two runs the same run: every field must agree before a block is reused. */
export type Fingerprint = Readonly<Record<string, string | number | boolean>>

/** The state of an unfinished run inside its artifact folder. */
export class RunState {
  readonly folder: string
  private readonly lock: Lock
  private readonly model: OpenedModel
  private readonly form: ValueForm

  private constructor(out: string, model: OpenedModel, form: ValueForm) {
    this.folder = join(out, STATE_FOLDER)
    this.lock = acquireLock(join(this.folder, 'lock'), out)
    this.model = model
    this.form = form
  }

  /**
   * Begins a run in `out`, or continues the one that was interrupted there, and keeps other processes out until close().
   * Throws UsageError when another process writes there, when `out` holds anything else, and when the interrupted run
   * had other inputs.
   */
  static begin(out: string, model: OpenedModel, form: ValueForm, fingerprint: Fingerprint): RunState {
    const folder = join(out, STATE_FOLDER)
    if (!existsSync(folder)) assertFree(out)
    mkdirSync(folder, { recursive: true })
    const state = new RunState(out, model, form)
    try {
      const runFile = join(folder, RUN_FILE)
      if (existsSync(runFile)) assertSameRun(out, readFingerprint(runFile), fingerprint)
      else {
        assertNothingElse(out)
        writeFileWhole(runFile, `${JSON.stringify(fingerprint, undefined, 2)}\n`)
      }
      return state
    } catch (error) {
      state.close()
      throw error
    }
  }

  /** Lets other processes write there; what is finished stays. */
  close(): void {
    this.lock.release()
  }

  /** The safetensors file of a finished block. */
  blockFile(layer: number): string {
    return join(this.folder, `block-${String(layer).padStart(5, '0')}.safetensors`)
  }

  has(layer: number): boolean {
    return existsSync(this.blockFile(layer))
  }

  /** Writes a finished block; it appears under its name only when it is complete. */
  save(layer: number, block: FinishedBlock): void {
    const matrices = matricesOf(this.model.config).map((matrix) => {
      const [outputs, inputs] = this.shape(matrix)
      return { base: this.base(matrix, layer), experts: block.experts[matrix], outputs, inputs }
    })
    const routers = {
      ...(block.router ? { [this.routerName(layer)]: block.router } : {}),
      ...(block.downRouter ? { [`${this.base('down_proj', layer)}.router`]: block.downRouter } : {}),
    }
    const record = JSON.stringify({ stats: block.stats, fallbacks: block.fallbacks })
    writeBlock(this.blockFile(layer), matrices, routers, { 'spexpand.block': record })
  }

  /** Reads a finished block back. */
  load(layer: number): FinishedBlock {
    const file = openSafetensors(this.blockFile(layer))
    try {
      const record = checkBlock(file, this.storedMatrices(layer), this.form)
      const router = (base: string): Router | undefined => {
        if (!file.tensors.has(`${base}.weight`)) return undefined
        const [experts, inputs] = file.get(`${base}.weight`).shape
        return {
          weight: matOf(experts!, inputs!, file.readF32(`${base}.weight`)),
          bias: file.readF32(`${base}.bias`),
        }
      }
      const experts = Object.fromEntries(
        matricesOf(this.model.config).map((matrix) => {
          const base = `${this.base(matrix, layer)}.experts`
          const stack = readStack(file, base, this.form)
          const count = file.get(`${base}.mask`).shape[0]!
          return [matrix, Array.from({ length: count }, (_, e) => expertAt(stack, e, count))]
        }),
      ) as Record<MatrixName, PackedExpert[]>
      const shared = router(this.routerName(layer))
      const down = router(`${this.base('down_proj', layer)}.router`)
      return { ...record, experts, ...(shared ? { router: shared } : {}), ...(down ? { downRouter: down } : {}) }
    } finally {
      file.close()
    }
  }

  /** Forgets the run: its blocks are in the artifact now. */
  remove(): void {
    // The last block first: a run killed meanwhile goes on from the blocks that are left.
    const blocks = readdirSync(this.folder).filter((name) => name.startsWith('block-'))
    for (const name of blocks.toSorted().toReversed()) rmSync(join(this.folder, name), { force: true })
    rmSync(this.folder, { recursive: true, force: true })
  }

  private storedMatrices(layer: number): StoredMatrix[] {
    return matricesOf(this.model.config).map((matrix) => {
      const [outputs, inputs] = this.shape(matrix)
      return { base: this.base(matrix, layer), outputs, inputs }
    })
  }

  private base(matrix: MatrixName, layer: number): string {
    return this.model.tensorName(ROLES[matrix], layer).replace(/\.weight$/, '')
  }

  /** The name of the shared router, without what part of it: that of the FF layer it belongs to. */
  private routerName(layer: number): string {
    return `${this.base('up_proj', layer).replace(/\.[^.]+$/, '')}.router`
  }

  private shape(matrix: MatrixName): [number, number] {
    const { hidden, ff } = this.model.config
    return matrix === 'down_proj' ? [hidden, ff] : [ff, hidden]
  }
}

/** The stack that writeBlock() wrote; artifacts have the same tensors. */
export function readStack(file: Pick<TensorFile, 'readBytes'>, base: string, form: ValueForm): ExpertStack {
  const { buffer } = file.readBytes(`${base}.values`)
  const array = { f16: Uint16Array, bf16: Uint16Array, int8: Int8Array, int4: Uint8Array }[form.type]
  return {
    form,
    mask: file.readBytes(`${base}.mask`),
    values: new array(buffer),
    ...('groupSize' in form ? { scales: new Uint16Array(file.readBytes(`${base}.scales`).buffer) } : {}),
    rowOffsets: new BigInt64Array(file.readBytes(`${base}.row_offsets`).buffer),
  }
}

function assertFree(out: string): void {
  if (!existsSync(out)) return
  assertNothingElse(out)
}

/** Besides the state of a run that has not begun, nothing may lie there. */
function assertNothingElse(out: string): void {
  if (readdirSync(out).some((name) => name !== STATE_FOLDER))
    throw new UsageError(
      `Cannot write to ${out}: it exists and is not an unfinished run: remove it or choose another --out`,
    )
}

function assertSameRun(out: string, found: Fingerprint, wanted: Fingerprint): void {
  for (const key of new Set([...Object.keys(found), ...Object.keys(wanted)]))
    if (found[key] !== wanted[key])
      throw new UsageError(
        `Cannot continue the run in ${out}: its ${key} was ${found[key]}, now ${wanted[key]}: use the same options and inputs, or another --out`,
      )
}
