// What one process may take and how it ends: measured in a process of its own, because resident memory only grows.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { CompressResult, EvaluateResult } from '../../src/index.ts'

const BIN = fileURLToPath(new URL('../../dist/bin/spexpand.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'spexpand-limits-'))
afterAll(() => rmSync(folder, { recursive: true }))

const text = join(folder, 'text.txt')
writeFileSync(text, readFileSync(new URL('../../docs/numerics.md', import.meta.url), 'utf8').repeat(2))
const SMALL = ['compress', '--text', text, '--tokens', '2048', '--experts', '2', '--no-eval', '--quiet', '--json']
const EVAL = ['eval', join(folder, 'kept'), '--windows', '64', '--quiet', '--json']

type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** Runs the built command; `until` is asked now and then and says when to send SIGTERM. */
function run(args: readonly string[], until?: () => boolean, command = SMALL): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const said = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].on('data', (piece: Buffer) => (said[stream] += piece.toString()))
    const timer = setInterval(() => {
      if (until?.() && child.kill('SIGTERM')) clearInterval(timer)
    }, 20)
    child.on('error', reject)
    child.on('close', (code) => {
      clearInterval(timer)
      resolve({ code, ...said })
    })
  })
}

function eventsOf(log: string): Record<string, unknown>[] {
  if (!existsSync(log)) return []
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}

describe('compress and eval --max-memory', () => {
  it('refuses what cannot be kept to, and keeps to the smallest that works', async () => {
    const refused = await run(['--max-memory', '16M', '--out', join(folder, 'refused')])
    expect(refused).toMatchObject({ code: 5, stderr: expect.stringMatching(/--max-memory \d+M is the smallest/) })
    expect(existsSync(join(folder, 'refused'))).toBe(false)
    const megabytes = /--max-memory (\d+)M is/.exec(refused.stderr)![1]!
    const kept = await run(['--max-memory', `${megabytes}M`, '--out', join(folder, 'kept')])
    expect(kept.code).toBe(0)
    const { peakBytes, memory } = JSON.parse(kept.stdout) as CompressResult
    expect(memory).toMatchObject({ workers: 1, spooled: true })
    expect(peakBytes).toBeLessThan(1.1 * Number(megabytes) * 2 ** 20)
    const unlimited = JSON.parse((await run([], undefined, EVAL)).stdout) as EvaluateResult
    const tooSmall = await run(['--max-memory', '16M'], undefined, EVAL)
    expect(tooSmall).toMatchObject({ code: 5, stderr: expect.stringMatching(/--max-memory \d+M is the smallest/) })
    const least = /--max-memory (\d+)M is/.exec(tooSmall.stderr)![1]!
    const limited = JSON.parse((await run(['--max-memory', `${least}M`], undefined, EVAL)).stdout) as EvaluateResult
    expect(limited.peakBytes).toBeLessThan(1.1 * Number(least) * 2 ** 20)
    expect(limited.peakBytes).toBeLessThan(unlimited.peakBytes)
    expect(limited.perplexity).toBeCloseTo(unlimited.perplexity, 3)
  }, 600_000)
})

describe('compress after SIGTERM', () => {
  it('ends with 143, says so in the log, and goes on from its blocks', async () => {
    const log = join(folder, 'log')
    const args = ['--out', join(folder, 'stopped'), '--log-file', log]
    const isBlockDone = (): boolean => eventsOf(log).some(({ event }) => event === 'block')
    const stopped = await run(args, isBlockDone)
    expect(stopped.code).toBe(143)
    const events = eventsOf(log)
    expect(events).toContainEqual(expect.objectContaining({ level: 'warning', event: 'signal', signal: 'SIGTERM' }))
    const blocks = events.filter(({ event }) => event === 'block')
    for (const { rss, heapUsed } of blocks) expect(Number(rss)).toBeGreaterThan(Number(heapUsed))
    const again = await run(args)
    expect(again.code).toBe(0)
    expect((JSON.parse(again.stdout) as CompressResult).resumedBlocks).toBeGreaterThanOrEqual(blocks.length)
    expect(eventsOf(log).at(-1)).toMatchObject({ event: 'end', code: 0 })
  }, 600_000)
})
