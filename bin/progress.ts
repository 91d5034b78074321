import { SingleBar } from 'cli-progress'
import type { Progress } from '../src/index.ts'
import type { Context } from './context.ts'
import { count, digits, duration } from './format.ts'

/** Shows the library's progress on standard error; `stop` clears the bar before results or errors are printed. */
export type ProgressView = { readonly onProgress: (progress: Progress) => void; stop(): void }

const VERBS: Readonly<Record<Progress['stage'], string>> = {
  load: 'load',
  calibrate: 'calibrate',
  cluster: 'cluster',
  hessian: 'collect H',
  solve: 'prune',
  propagate: 'propagate',
  export: 'export',
  evaluate: 'evaluate',
}

/** A bar on a terminal, one line a block elsewhere, nothing under --quiet. */
export function progressView(context: Context, flags: { readonly quiet?: boolean }): ProgressView {
  if (flags.quiet) return { onProgress: () => {}, stop: () => {} }
  return context.bars ? barView(context) : lineView(context)
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

type Track = { first: number; last: number; start: number; unitStart: number }

/**
 * Rate and time left as text. Blocks cost about the same, so the time of the blocks finished in this run (a continued
 * run starts at a later one) is what the others will take; elsewhere the units of the stage are counted.
 */
export function createPace(now: () => number): (progress: Progress) => string {
  const tracks = new Map<string, Track>()
  return (progress) => {
    const time = now()
    const { block } = progress
    const key = block === undefined ? progress.stage : 'blocks'
    const position = block ?? progress.done
    let track = tracks.get(key)
    if (!track || position < track.last) {
      track = { first: position, last: position, start: time, unitStart: time }
      tracks.set(key, track)
    }
    if (position > track.last) [track.last, track.unitStart] = [position, time]
    const finished = position - track.first
    if (finished === 0) return ''
    const perUnit = (track.unitStart - track.start) / finished
    const total = block === undefined ? progress.total : progress.blocks
    const left = total === undefined ? 0 : (total - position) * perUnit - (time - track.unitStart)
    return [rate(perUnit, block !== undefined), left > 0 ? `${duration(left)} left` : ''].filter(Boolean).join(', ')
  }
}

function rate(msPerUnit: number, blocks: boolean): string {
  if (blocks) return `${duration(msPerUnit)} a block`
  return msPerUnit > 0 ? `${digits(1000 / msPerUnit, 2)}/s` : ''
}
