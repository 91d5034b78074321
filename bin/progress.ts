import { SingleBar } from 'cli-progress'
import type { Progress } from '../src/index.ts'
import type { Context } from './context.ts'
import { count, digits, duration } from './format.ts'

/** Shows the library's progress on standard error; `stop` clears the bar before results or errors are printed. */
export type ProgressView = { readonly onProgress: (progress: Progress) => void; stop(): void }

const VERBS: Readonly<Record<Progress['stage'], string>> = {
  download: 'download',
  convert: 'convert',
  load: 'load',
  calibrate: 'calibrate',
  cluster: 'cluster',
  hessian: 'collect H',
  solve: 'prune',
  propagate: 'propagate',
  export: 'export',
  evaluate: 'evaluate',
  check: 'check',
  compare: 'compare',
  time: 'time',
}

/** A bar on a terminal, one line a block elsewhere, nothing under --quiet; the log hears of it in any case. */
export function progressView(context: Context, flags: { readonly quiet?: boolean }): ProgressView {
  const view = flags.quiet ? silentView() : context.bars ? barView(context) : lineView(context)
  return {
    onProgress(progress) {
      context.log.progress(progress)
      view.onProgress(progress)
    },
    stop: () => view.stop(),
  }
}

function silentView(): ProgressView {
  return { onProgress: () => {}, stop: () => {} }
}

function barView(context: Context): ProgressView {
  const pace = createPace(context.now)
  const bar = new SingleBar({
    format: '{stage} {bar} {share} {pace}',
    barCompleteChar: '#',
    barIncompleteChar: '-',
    barsize: 24,
    fps: 8,
    // The library's own handlers would swallow the first Ctrl-C, which has to reach the pipeline.
    gracefulExit: false,
    hideCursor: false,
    clearOnComplete: true,
    stopOnComplete: false,
    linewrap: null,
    stream: context.stderr as NodeJS.WritableStream,
  })
  let drawn = false
  return {
    onProgress(progress) {
      const payload = {
        stage: where(progress),
        share: `${count(progress.done)}/${count(progress.total)}`,
        pace: pace(progress),
      }
      if (drawn) bar.setTotal(progress.total)
      else bar.start(progress.total, progress.done, payload)
      drawn = true
      bar.update(progress.done, payload)
    },
    stop() {
      if (drawn) bar.stop()
      drawn = false
    },
  }
}

/** One line a block, as its note or, where there is none, when it begins; one line for every other stage. */
function lineView(context: Context): ProgressView {
  const pace = createPace(context.now)
  const started = context.now()
  let last = ''
  let noted = false
  return {
    onProgress(progress) {
      const { note } = progress
      const speed = pace(progress)
      const place = progress.block === undefined ? VERBS[progress.stage] : blockName(progress)
      if (place === last && note === undefined) return
      const announced = noted && progress.block !== undefined && note === undefined
      last = place
      noted = note !== undefined
      if (announced) return
      const details = [note, speed].filter((part) => part !== undefined && part !== '').join(', ')
      const elapsed = duration(context.now() - started)
      context.stderr.write(`[${elapsed}] ${place}${details === '' ? '' : `: ${details}`}\n`)
    },
    stop() {},
  }
}

function where(progress: Progress): string {
  const verb = VERBS[progress.stage]
  return progress.block === undefined ? verb.padEnd(9) : `${blockName(progress)} ${verb.padEnd(9)}`
}

function blockName({ block = 0, blocks }: Progress): string {
  return `block ${block + 1}${blocks === undefined ? '' : ` of ${blocks}`}`
}

/** Units that the pace looks back on: blocks that a continued run only replays are fast, and soon forgotten. */
const LOOK_BACK = 3

/** Where a stage stood when its last units were finished, oldest first. */
type Mark = { readonly position: number; readonly time: number }

/**
 * Rate and time left as text. Blocks cost about the same, so the time of the last few finished in this run is what the
 * others will take; outside the blocks the units of the stage are counted.
 */
export function createPace(now: () => number): (progress: Progress) => string {
  const tracks = new Map<string, Mark[]>()
  return (progress) => {
    const time = now()
    const { block } = progress
    const key = block === undefined ? progress.stage : 'blocks'
    const position = block ?? progress.done
    const last = tracks.get(key)?.at(-1)
    if (last === undefined || position < last.position) tracks.set(key, [{ position, time }])
    const marks = tracks.get(key)!
    if (position > marks.at(-1)!.position) marks.push({ position, time })
    // Single tokens or windows are too small to look back on three of them; the whole stage is averaged.
    if (block !== undefined && marks.length > LOOK_BACK + 1) marks.shift()
    if (block === undefined && marks.length > 2) marks.splice(1, marks.length - 2)
    const [first, newest] = [marks[0]!, marks.at(-1)!]
    if (newest.position === first.position) return ''
    const perUnit = (newest.time - first.time) / (newest.position - first.position)
    const total = block === undefined ? progress.total : progress.blocks
    const left = total === undefined ? 0 : (total - position) * perUnit - (time - newest.time)
    return [rate(perUnit, block !== undefined), left > 0 ? `${duration(left)} left` : ''].filter(Boolean).join(', ')
  }
}

function rate(msPerUnit: number, blocks: boolean): string {
  if (blocks) return `${duration(msPerUnit)} a block`
  return msPerUnit > 0 ? `${digits(1000 / msPerUnit, 2)}/s` : ''
}
