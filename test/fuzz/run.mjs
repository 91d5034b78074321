// npm run test:fuzz: changed files for every reader of files, 100,000 in all (test/fuzz/run.ts has the contract). Each reader
// runs in a process of its own, with a limit, so that one that hangs or dies is a row of the table and not the end of it.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs')
const TOTAL = Number(process.env.FUZZ_INPUTS ?? 100_000)
const SEED = Number(process.env.FUZZ_SEED ?? 1 + Math.floor(Math.random() * 2 ** 30))
const ONLY = process.env.FUZZ_TARGET
/** A reader may take a tenth of a second for every input, and some seconds to begin. */
const limitMs = (inputs) => 60_000 + 100 * inputs

const scratch = mkdtempSync(join(tmpdir(), 'spexpand-fuzz-run-'))

/** Runs one target, or all; what vitest says, and the outcomes. */
async function run(inputs, target) {
  const temporary = mkdtempSync(join(scratch, 'target-'))
  const report = join(temporary, 'report.json')
  const env = { ...process.env, FUZZ_INPUTS: inputs, FUZZ_SEED: SEED, FUZZ_REPORT: report, TMPDIR: temporary }
  if (target) env.FUZZ_TARGET = target
  const { code, output, isLate } = await ended(
    [VITEST, 'run', 'test/fuzz/parsers.test.ts', '--maxWorkers=1'],
    env,
    limitMs(inputs),
  )
  const outcomes = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : []
  const last = lastInput(temporary)
  if (last === undefined || !isLate) return { isSound: code === 0, outcomes, why: output }
  return { isSound: false, outcomes, why: `longer than ${limitMs(inputs)} ms; the file that it was reading: ${last}` }
}

/** Runs node, in a group of its own: vitest's workers would outlive it, at work on the input that never ends. */
function ended(args, env, limit) {
  const child = spawn(process.execPath, args, { cwd: ROOT, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = []
  let isLate = false
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk))
  const kill = () => process.kill(-child.pid, 'SIGKILL')
  const timer = setTimeout(() => {
    isLate = true
    kill()
  }, limit)
  const stop = () => {
    kill()
    process.exit(130)
  }
  process.once('SIGINT', stop)
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer)
      process.off('SIGINT', stop)
      resolve({ code, isLate, output: Buffer.concat(output).toString() })
    })
  })
}

/** Where test/fuzz/parsers.test.ts left the file that it was reading when it was killed. */
function lastInput(temporary) {
  const files = readdirSync(temporary).map((name) => join(temporary, name, 'last-input'))
  return files.find((file) => existsSync(file))
}

function row(...cells) {
  console.log(`| ${cells.join(' | ')} |`)
}
const MB = (bytes) => (bytes / 2 ** 20).toFixed(1)

const named = await run(1)
if (!named.isSound) {
  console.error(named.why)
  process.exit(1)
}
const targets = named.outcomes.filter(({ target }) => ONLY === undefined || target === ONLY)
const shares = targets.reduce((sum, { share }) => sum + share, 0)
const failures = []
const all = { inputs: 0, seconds: 0, worstMs: 0, largestBytes: 0, grownBytes: 0 }
console.log(`seed ${SEED}: FUZZ_SEED=${SEED} FUZZ_TARGET='…' npm run test:fuzz repeats a row\n`)
row('reader', 'inputs', 'seconds', 'worst ms', 'largest array MB', 'RSS growth MB', 'outcomes')
row('---', '---:', '---:', '---:', '---:', '---:', '---')
for (const { target, share } of targets) {
  const inputs = Math.ceil((TOTAL * share) / shares)
  const { isSound, outcomes, why } = await run(inputs, target)
  const outcome = outcomes.find((one) => one.target === target)
  if (!isSound || !outcome) {
    failures.push(target)
    console.error(`\n${target}:\n${why}`)
    row(target, inputs, '', '', '', '', 'FAILED')
    continue
  }
  const { seconds, worstMs, largestBytes, grownBytes, results } = outcome
  const counts = Object.entries(results).sort(([, a], [, b]) => b - a)
  const said = counts.map(([result, count]) => `${count} ${result}`).join(', ')
  row(target, inputs, seconds.toFixed(1), worstMs.toFixed(0), MB(largestBytes), MB(grownBytes), said)
  all.inputs += inputs
  all.seconds += seconds
  for (const key of ['worstMs', 'largestBytes', 'grownBytes']) all[key] = Math.max(all[key], outcome[key])
}
row('all', all.inputs, all.seconds.toFixed(1), all.worstMs.toFixed(0), MB(all.largestBytes), MB(all.grownBytes), '')
if (failures.length === 0) rmSync(scratch, { recursive: true, force: true })
process.exitCode = failures.length > 0 ? 1 : 0
