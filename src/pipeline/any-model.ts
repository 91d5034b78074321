import { UsageError } from '../errors.ts'
import { compress as compressFolder } from './compress.ts'
import { entangle as entangleFolder } from './entangle/entangle.ts'
import { entangleFiles as entangleFolderFiles } from './entangle/files.ts'
import { evaluate as evaluateFolder } from './evaluate.ts'
import { forwardFile as forwardFolderFile } from './files.ts'
import { generate as generateFromFolder, generateAll as generateAllFromFolder } from './generate.ts'
import type { LocalModelOptions, ModelSource } from './local-model.ts'
import { localModel } from './local-model.ts'
import { plan as planFolder } from './plan.ts'
import { predictHireFiles as predictHireFolderFiles } from './predict/hire-files.ts'
import { predict as predictFolder } from './predict/predict.ts'
import type { TextSource } from './types.ts'
import { verify as verifyFolder } from './verify/verify.ts'

/** A call of the library that takes whatever localModel() knows as `model` and `dense`. */
export type AnyModel<Call extends (options: never) => Promise<unknown>> = (
  options: Parameters<Call>[0] & ModelSource & ChatOption,
) => ReturnType<Call>

type Texts = { readonly [key in (typeof TEXTS)[number]]?: TextSource }
type Named = LocalModelOptions & ChatOption & Texts & { readonly model?: string; readonly dense?: string }

/** Options that are text sources, in whatever call. */
const TEXTS = ['text', 'evalText', 'calibration'] as const

/** How conversations become text. */
export type ChatOption = {
  /** Lines with `messages` in any text given become text by the chat template of the model. @default false */
  readonly chatTemplate?: boolean
}

// The calls themselves know model folders only.
export const compress: AnyModel<typeof compressFolder> = anyModel(compressFolder)
export const plan: AnyModel<typeof planFolder> = anyModel(planFolder)
export const evaluate: AnyModel<typeof evaluateFolder> = anyModel(evaluateFolder)
export const generate: AnyModel<typeof generateFromFolder> = anyModel(generateFromFolder)
export const generateAll: AnyModel<typeof generateAllFromFolder> = anyModel(generateAllFromFolder)
export const entangle: AnyModel<typeof entangleFolder> = anyModel(entangleFolder)
export const entangleFiles: AnyModel<typeof entangleFolderFiles> = anyModel(entangleFolderFiles)
export const forwardFile: AnyModel<typeof forwardFolderFile> = anyModel(forwardFolderFile)
export const predict: AnyModel<typeof predictFolder> = anyModel(predictFolder)
export const predictHireFiles: AnyModel<typeof predictHireFolderFiles> = anyModel(predictHireFolderFiles)
export const verify: AnyModel<typeof verifyFolder> = anyModel(verifyFolder)

/** `call` with models made local first; a result that names its model names it as the caller did. */
function anyModel<Call extends (options: never) => Promise<unknown>>(call: Call): AnyModel<Call> {
  // One function for calls of many types: what comes in and goes out is what `call` takes and gives.
  const folderCall = call as unknown as (options: Named) => Promise<unknown>
  const wrapped = async (options: Named): Promise<unknown> => {
    const { revision: _, offline: __, chatTemplate = false, ...plain } = options
    const texts = chatTemplate ? chatTexts(options) : {}
    const local = await localNames(options)
    const result = await folderCall({ ...plain, ...texts, ...local })
    return renamed(result, local.model, options.model)
  }
  return wrapped as unknown as AnyModel<Call>
}

/** The texts of a call, each to be rendered. Throws UsageError when there is none: bundled text has no conversations. */
function chatTexts(options: Named): Texts {
  const given = TEXTS.flatMap((key) => (options[key] ? [[key, { ...options[key], chatTemplate: true }]] : []))
  if (given.length === 0)
    throw new UsageError('--chat-template: got no text to render, wanted --text with JSON lines that have "messages"')
  return Object.fromEntries(given) as Texts
}

async function localNames(options: Named): Promise<{ model?: string; dense?: string }> {
  const { model, dense } = options
  return {
    ...(model === undefined ? {} : { model: await localModel(model, options) }),
    ...(dense === undefined ? {} : { dense: await localModel(dense, options) }),
  }
}

function renamed(result: unknown, local: string | undefined, given: string | undefined): unknown {
  if (Array.isArray(result)) return result.map((one) => renamed(one, local, given))
  const isNamed = typeof result === 'object' && result !== null && 'model' in result && result.model === local
  return isNamed && given !== undefined ? { ...result, model: given } : result
}
