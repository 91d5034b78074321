import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../../errors.ts'
import { writeFileWhole } from '../../formats/bytes.ts'
import { isArtifact } from '../../verify/artifact.ts'
import { predictGriffin } from './griffin.ts'
import type { GriffinReport, PredictGriffinOptions } from './types.ts'

/** Name of the file that predict() writes and generate() reads. */
export const GRIFFIN_FILE = 'griffin.json'

export type PredictResult = {
  readonly griffin: GriffinReport
  /** Path of griffin.json; absent when nothing was written. */
  readonly file?: string
}

/**
 * predictGriffin(), and its report written to `out`/griffin.json where a folder is given. Throws UsageError for an
 * artifact: its neurons differ from expert to expert, so a set for the whole text would have to be cut out of every
 * one of them.
 */
export async function predict(options: PredictGriffinOptions & { readonly out?: string }): Promise<PredictResult> {
  const { model, out } = options
  if (model !== undefined && existsSync(model) && isArtifact(model))
    throw new UsageError(
      `Cannot predict for ${model}: it is an artifact, whose tokens take different experts: give the dense model it was made from`,
    )
  if (out !== undefined && existsSync(out) && !statSync(out).isDirectory())
    throw new UsageError(`Cannot write ${GRIFFIN_FILE} into ${out}: it is a file: give a folder with --out`)
  const griffin = await predictGriffin(options)
  if (out === undefined) return { griffin }
  mkdirSync(out, { recursive: true })
  const file = join(out, GRIFFIN_FILE)
  writeFileWhole(file, `${JSON.stringify(griffin)}\n`)
  return { griffin, file }
}
