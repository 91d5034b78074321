import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { copySourceFiles } from '../../../export/artifact.ts'
import { UsageError } from '../../errors.ts'
import { writeFileWhole } from '../../formats/bytes.ts'
import type { Shared } from '../../formats/link-file.ts'
import { linkOrCopy } from '../../formats/link-file.ts'
import { readConfig } from '../../model/config.ts'
import { openTokenizer } from '../../model/tokenizer.ts'
import { nativeStatus, requireNative } from '../../runtime/native.ts'
import { openArtifact, readGraph } from '../../verify/artifact.ts'
import { generationConfig, stopTokens } from '../stop-tokens.ts'
import { genaiConfig } from './genai-config.ts'

export type GenaiOptions = {
  /** Folder of an artifact. */
  readonly artifact: string
  /** Folder to write; made when it is not there, and empty when it is. */
  readonly out: string
  /**
   * Whether our operator library goes with it. It runs on the system and processor kind it was built for; without it the
   * folder runs everywhere, many times slower. @default where it is built
   */
  readonly native?: boolean
}

export type GenaiResult = {
  readonly out: string
  readonly files: readonly string[]
  /** Model type that genai_config.json names. */
  readonly type: string
  /** Who computes our operators: the library in the folder, or the functions in model.onnx. */
  readonly operators: 'native' | 'portable'
  /** Platform that a native folder is for ('linux-x64'). */
  readonly platform?: string
  /** Why there is no library, where nobody asked for none. */
  readonly because?: string
  /** Whether the weights take space again. */
  readonly weights: Shared
  /** Positions of the model, and tokens of prompt and answer together unless the caller wants more. */
  readonly contextLength: number
  readonly maxLength: number
}

/**
 * Writes an artifact as a folder of onnxruntime-genai: its own graph and weights (hard links where the disk allows), the
 * tokenizer, genai_config.json, and our operator library. It is complete when genai_config.json is there.
 * Throws UsageError for an `out` that is not empty, UnsupportedError for `native` where the library is not built,
 * IntegrityError for a damaged artifact.
 */
export function exportGenai(options: GenaiOptions): GenaiResult {
  const { artifact: folder, out } = options
  openArtifact(folder)
  if (existsSync(out) && readdirSync(out).length > 0)
    throw new UsageError(`Cannot export to ${out}: it exists and is not empty: choose another --out`)
  const { path: library, because } = operatorLibrary(options.native)
  const operators = library === undefined ? undefined : basename(library)
  const generationFile = join(folder, 'generation_config.json')
  const json = genaiConfig(readConfig(folder), {
    stopIds: stopTokens(folder, openTokenizer(folder)),
    generation: generationConfig(folder),
    generationFile,
    ...(operators === undefined ? {} : { operators }),
  })
  mkdirSync(out, { recursive: true })
  try {
    const shared = weightFiles(folder).map((name) => linkOrCopy(join(folder, name), join(out, name)))
    writeFileWhole(join(out, GRAPH), readFileSync(join(folder, GRAPH)))
    // No link: a later build may write over the library, and a process that has it mapped would crash.
    if (library !== undefined) writeFileWhole(join(out, operators!), readFileSync(library))
    copySourceFiles(folder, out)
    writeFileWhole(join(out, 'genai_config.json'), `${JSON.stringify(json, undefined, 2)}\n`)
    return {
      out,
      files: readdirSync(out).sort(),
      type: json.model.type,
      operators: library === undefined ? 'portable' : 'native',
      ...(library === undefined ? {} : { platform: `${process.platform}-${process.arch}` }),
      ...(because === undefined ? {} : { because }),
      weights: shared.every((how) => how === 'linked') ? 'linked' : 'copied',
      contextLength: json.model.context_length,
      maxLength: json.search.max_length,
    }
  } catch (error) {
    for (const name of readdirSync(out)) rmSync(join(out, name), { force: true })
    throw error
  }
}

const GRAPH = 'model.onnx'

/** The weight files that the graph reads; an artifact may have more (HiRE). */
function weightFiles(folder: string): string[] {
  const names = readGraph(folder).graph.initializer.flatMap(({ external }) => (external ? [external.location] : []))
  return [...new Set(names)].sort()
}

/** The operator library, or why there is none. */
function operatorLibrary(wanted: boolean | undefined): { readonly path?: string; readonly because?: string } {
  if (wanted === false) return {}
  if (wanted) return { path: requireNative().operatorsPath }
  const status = nativeStatus()
  if (status.found && status.operatorsPath !== undefined) return { path: status.operatorsPath }
  return { because: status.found ? `there is no operator library beside ${status.addonPath}` : status.because }
}
