import { describe, expect, it } from 'vitest'
import { createPace, progressView } from '../../bin/progress.ts'
import { fakeContext } from './context.ts'

describe('createPace()', () => {
  it('extrapolates from finished blocks, less the time already spent on this one', () => {
    let ms = 0
    const pace = createPace(() => ms)
    const at = (block: number, time: number) => {
      ms = time
      return pace({ stage: 'solve', done: 0, total: 1, block, blocks: 8 })
    }
    expect(at(0, 0)).toBe('')
    expect(at(0, 1500)).toBe('')
    expect(at(1, 2000)).toBe('2.0 s a block, 14.0 s left')
    expect(at(1, 3000)).toBe('2.0 s a block, 13.0 s left')
    expect(at(2, 6000)).toBe('3.0 s a block, 18.0 s left')
    expect(at(3, 8000)).toBe('2.7 s a block, 13.3 s left')
    // The first block is forgotten by now.
    expect(at(4, 13_000)).toBe('3.7 s a block, 14.7 s left')
  })

  it('counts only the blocks of this run when it goes on from an earlier one', () => {
    let ms = 0
    const pace = createPace(() => ms)
    pace({ stage: 'solve', done: 0, total: 1, block: 5, blocks: 8 })
    ms = 4000
    expect(pace({ stage: 'solve', done: 0, total: 1, block: 6, blocks: 8 })).toBe('4.0 s a block, 8.0 s left')
  })

  it('counts units outside the blocks, and keeps the blocks apart from them', () => {
    let ms = 0
    const pace = createPace(() => ms)
    pace({ stage: 'hessian', done: 0, total: 1, block: 0, blocks: 3 })
    pace({ stage: 'evaluate', done: 0, total: 100 })
    ms = 1000
    expect(pace({ stage: 'evaluate', done: 50, total: 100 })).toBe('50/s, 1.0 s left')
    expect(pace({ stage: 'solve', done: 0, total: 1, block: 1, blocks: 3 })).toBe('1.0 s a block, 2.0 s left')
  })

  it('never says that less than nothing is left', () => {
    let ms = 0
    const pace = createPace(() => ms)
    pace({ stage: 'solve', done: 0, total: 1, block: 0, blocks: 2 })
    ms = 1000
    pace({ stage: 'solve', done: 0, total: 1, block: 1, blocks: 2 })
    ms = 9000
    expect(pace({ stage: 'solve', done: 1, total: 1, block: 1, blocks: 2 })).toBe('1.0 s a block')
  })
})

describe('progressView()', () => {
  it('writes one plain line a block when there is no terminal', () => {
    const { context, printed, clock } = fakeContext()
    const view = progressView(context, {})
    view.onProgress({ stage: 'calibrate', done: 0, total: 10 })
    view.onProgress({ stage: 'calibrate', done: 9, total: 10 })
    for (let block = 0; block < 3; block++)
      for (const stage of ['hessian', 'solve'] as const)
        for (let done = 0; done <= 2; done++) {
          view.onProgress({ stage, done, total: 2, block, blocks: 3 })
          clock.ms += 250
        }
    view.stop()
    expect(printed.stdout).toBe('')
    expect(printed.stderr.split('\n')).toEqual([
      '[0 ms] calibrate',
      '[0 ms] block 1 of 3',
      '[1.5 s] block 2 of 3: 1.5 s a block, 3.0 s left',
      '[3.0 s] block 3 of 3: 1.5 s a block, 1.5 s left',
      '',
    ])
  })

  it('lets the note of a finished block stand for the line of the next', () => {
    const { context, printed, clock } = fakeContext()
    const view = progressView(context, {})
    for (let block = 0; block < 3; block++) {
      view.onProgress({ stage: 'solve', done: 0, total: 1, block, blocks: 3 })
      clock.ms += 1000
      view.onProgress({ stage: 'solve', done: 1, total: 1, block, blocks: 3, note: `error 0.${block}` })
    }
    expect(printed.stderr.split('\n')).toEqual([
      '[0 ms] block 1 of 3',
      '[1.0 s] block 1 of 3: error 0.0',
      '[2.0 s] block 2 of 3: error 0.1, 1.0 s a block, 1.0 s left',
      '[3.0 s] block 3 of 3: error 0.2, 1.0 s a block',
      '',
    ])
  })

  it('draws a bar on a terminal and clears it', () => {
    const { context, printed } = fakeContext()
    const terminal = { isTTY: true, columns: 80, write: (text: string) => (printed.stderr += text) }
    const view = progressView({ ...context, stderr: terminal, bars: true }, {})
    view.onProgress({ stage: 'solve', done: 1, total: 4, block: 2, blocks: 8 })
    view.stop()
    expect(printed.stderr).toContain('block 3 of 8 prune')
    expect(printed.stderr).toContain('1/4')
    view.stop()
  })

  it('is silent under --quiet', () => {
    const { context, printed } = fakeContext()
    const view = progressView(context, { quiet: true })
    view.onProgress({ stage: 'solve', done: 1, total: 4, note: 'x' })
    view.stop()
    expect(printed).toEqual({ stdout: '', stderr: '' })
  })
})
