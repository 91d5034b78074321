import type {
  entangleFiles,
  compress,
  doctor,
  evaluate,
  exportGenai,
  exportGguf,
  exportHfDense,
  exportMixtral,
  forwardFile,
  generate,
  generateAll,
  inspect,
  plan,
  predict,
  predictHireFiles,
  pruneMatrixFile,
  verify,
} from '../src/index.ts'
import type { RunLog } from './log.ts'

/** The library calls that the commands make; tests put their own here. */
export type Library = {
  readonly compress: typeof compress
  readonly plan: typeof plan
  readonly entangleFiles: typeof entangleFiles
  readonly evaluate: typeof evaluate
  readonly inspect: typeof inspect
  readonly exportGenai: typeof exportGenai
  readonly exportGguf: typeof exportGguf
  readonly exportHfDense: typeof exportHfDense
  readonly exportMixtral: typeof exportMixtral
  readonly forwardFile: typeof forwardFile
  readonly doctor: typeof doctor
  readonly generate: typeof generate
  readonly generateAll: typeof generateAll
  readonly verify: typeof verify
  readonly predict: typeof predict
  readonly predictHireFiles: typeof predictHireFiles
  readonly pruneMatrixFile: typeof pruneMatrixFile
}

/** Where text goes: results to one, progress and errors to the other. */
export type Output = {
  readonly isTTY?: boolean | undefined
  write(text: string): unknown
}

/** Everything a command touches outside its flags, so that the whole program runs inside a test. */
export type Context = {
  readonly stdout: Output
  readonly stderr: Output
  /** A line on standard error may move the cursor: a terminal that can, and nobody asked for silence. */
  readonly bars: boolean
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal
  /** Where --log-file goes. */
  readonly log: RunLog
  /** Loaded on first use: `--help` and a wrong flag must not wait for onnxruntime. */
  readonly library: () => Promise<Library>
}
