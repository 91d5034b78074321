import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createRunLog } from '../../bin/log.ts'
import { runCli } from './context.ts'
import { compressResult } from './results.ts'

const folder = mkdtempSync(join(tmpdir(), 'spexpand-log-'))
afterAll(() => rmSync(folder, { recursive: true }))

const compress = (): Promise<typeof compressResult> => Promise.resolve(compressResult)

function linesOf(name: string): Record<string, unknown>[] {
  const text = readFileSync(join(folder, name), 'utf8')
  expect(text.endsWith('\n')).toBe(true)
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

describe('createRunLog()', () => {
  it('writes a line a stage and a block, with memory, and one a fallback; nothing before open()', () => {
    let ms = 0
    const log = createRunLog(
      () => (ms += 1000),
      () => ({ rss: 30, heapUsed: 20, external: 10, arrayBuffers: 5 }) as never,
    )
    log.event('info', 'lost')
    log.open(join(folder, 'direct'))
    log.progress({ stage: 'load', done: 0, total: 1 })
    for (const done of [0, 1, 2]) log.progress({ stage: 'solve', done, total: 2, block: 0, blocks: 8 })
    const fallback = { where: 'layer 0', what: 'damping raised', because: 'a pivot' }
    log.progress({ stage: 'propagate', done: 1, total: 8, block: 0, blocks: 8, note: 'fine', fallbacks: [fallback] })
    log.close()
    log.event('info', 'lost')
    const memory = { rss: 30, heapUsed: 20, external: 10 }
    const first = { time: '1970-01-01T00:00:01.000Z', level: 'info', event: 'stage', stage: 'load' }
    expect(linesOf('direct')).toEqual([
      { ...first, done: 0, total: 1, ...memory },
      expect.objectContaining({ event: 'stage', stage: 'solve', block: 0, blocks: 8, ...memory }),
      expect.objectContaining({ event: 'block', block: 0, blocks: 8, note: 'fine', ...memory }),
      expect.objectContaining({ level: 'warning', event: 'fallback', ...fallback }),
    ])
  })
})

describe('--log-file', () => {
  it('may stand before or behind any command, and adds to what is there', async () => {
    const path = join(folder, 'both')
    await runCli(`compress --no-eval --quiet --log-file ${path}`, { compress })
    await runCli(`--log-file ${path} compress --no-eval --quiet --experts 4`, { compress })
    const lines = linesOf('both')
    expect(lines.map(({ event }) => event)).toEqual(['start', 'result', 'start', 'result'])
    expect(lines[2]).toMatchObject({ command: 'compress', options: { experts: 4 }, pid: process.pid })
    expect(lines[1]).toMatchObject({ cpuMs: compressResult.cpuMs, peakBytes: compressResult.peakBytes })
  })

  it('has the error that ended a command', async () => {
    const { code } = await runCli(`compress --log-file ${join(folder, 'error')} --sparsity 0.5 --no-eval`, {
      compress: () => Promise.reject(new Error('boom')),
    })
    expect(code).toBe(1)
    expect(linesOf('error').at(-1)).toMatchObject({ level: 'error', event: 'error', kind: 'bug', message: 'boom' })
  })

  it('is refused where it cannot be written', async () => {
    const { code, stderr } = await runCli(`compress --no-eval --log-file ${join(folder, 'none', 'x')}`)
    expect(code).toBe(3)
    expect(stderr).toContain('ENOENT')
  })
})
