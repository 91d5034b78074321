import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { amendArtifact } from '../../../export/amend.ts'
import { UsageError } from '../../errors.ts'
import { writeFileWhole } from '../../formats/bytes.ts'
import { griffinPage } from '../../report/griffin-page.ts'
import { isArtifact, readGraph } from '../../verify/artifact.ts'
import { readConfig } from '../../model/config.ts'
import { griffinAmendment } from './griffin-amend.ts'
import { predictGriffin } from './griffin.ts'
import type { GriffinSpeed } from './griffin-speed.ts'
import { measureGriffinSpeed } from './griffin-speed.ts'
import type { GriffinReport, PredictGriffinOptions } from './types.ts'

/** Names of the files that predict() writes. */
export const GRIFFIN_FILE = 'griffin.json'
export const GRIFFIN_PAGE = 'griffin.html'

export type PredictOptions = PredictGriffinOptions & {
  /** Folder for griffin.json and griffin.html; an artifact is then left as it is. @default an artifact is amended */
  readonly out?: string
  /** Also time decoding at the densities told (dense models): it goes into the result and the page. @default false */
  readonly speed?: boolean
}

export type PredictResult = {
  readonly griffin: GriffinReport
  readonly speed?: GriffinSpeed
  /** Path of griffin.json and of the page; absent when nothing was written. */
  readonly file?: string
  readonly page?: string
  /** The artifact that has a griffin section, metadata and a page now. */
  readonly amended?: string
}

/**
 * predictGriffin(), and its report written: to `out`, where a folder is given, else into the artifact. Throws UsageError when
 * `out` is a file, or speed is asked of an artifact.
 */
export async function predict(options: PredictOptions): Promise<PredictResult> {
  const { model, out } = options
  if (out !== undefined && existsSync(out) && !statSync(out).isDirectory())
    throw new UsageError(`Cannot write ${GRIFFIN_FILE} into ${out}: it is a file: give a folder with --out`)
  const ofArtifact = model !== undefined && isArtifact(model)
  if (ofArtifact && options.speed)
    throw new UsageError(
      `Cannot time GRIFFIN on ${model}: it is an artifact, whose other neurons are only set to 0: give a dense model`,
    )
  const { report: griffin, heat } = await predictGriffin(options)
  const speed = options.speed ? await measureGriffinSpeed(options, griffin) : undefined
  const page = griffinPage({ ...griffin, heat, ...(speed ? { speed: speed.rows } : {}) })
  const measured = { griffin, ...(speed ? { speed } : {}) }
  if (out !== undefined) {
    mkdirSync(out, { recursive: true })
    const [file, pageFile] = [join(out, GRIFFIN_FILE), join(out, GRIFFIN_PAGE)]
    writeFileWhole(file, `${JSON.stringify(griffin)}\n`)
    writeFileWhole(pageFile, page)
    return { ...measured, file, page: pageFile }
  }
  if (!ofArtifact) return measured
  const { ff } = readConfig(model)
  await amendArtifact(
    model,
    griffinAmendment(griffin, readGraph(model), { folder: model, ff, page, pageName: GRIFFIN_PAGE }),
  )
  return { ...measured, page: join(model, GRIFFIN_PAGE), amended: model }
}
