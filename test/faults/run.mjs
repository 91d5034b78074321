// npm run test:faults: compress is killed, starved of disk and started twice; whatever happens, the same command must end
// with the bytes of a run that nothing disturbed. Takes minutes, so it is not part of npm test. Needs npm run build.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const CLI = fileURLToPath(new URL('../../dist/bin/spexpand.js', import.meta.url))
const CORPUS = fileURLToPath(new URL('../../calibration/corpora/calibration.jsonl', import.meta.url))
const BLOCKS = 8 // of the embedded demo model
const KILLS = Number(process.env.KILLS ?? 20)
const folder = mkdtempSync(join(tmpdir(), 'spexpand-faults-'))
// A short text: reading the bundled one would take longer than all the rest.
const text = join(folder, 'text.txt')
const OPTIONS = ['--experts', '4', '--tokens', '2048', '--min-tokens-per-expert', '1', '--no-eval', '--quiet', '--json']
OPTIONS.push('--text', text)

let seed = Number(process.env.SEED ?? 1)
/** Uniform in [0, 1): a linear congruential generator, so that a failure can be repeated. */
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32

/** Runs compress; `until(out)` is asked every millisecond and ends it by SIGKILL when it says true. */
function compress(out, until) {
  return new Promise((resolve) => {
    const begin = performance.now()
    const child = spawn(process.execPath, [CLI, 'compress', ...OPTIONS, '--out', out], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const text = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr']) child[stream].on('data', (piece) => (text[stream] += piece))
    const timer =
      until &&
      setInterval(() => {
        if (until(performance.now() - begin)) child.kill('SIGKILL')
      }, 1)
    child.on('close', (code, signal) => {
      clearInterval(timer)
      const json = code === 0 ? JSON.parse(text.stdout) : undefined
      resolve({ code, signal, seconds: (performance.now() - begin) / 1000, json, error: text.stderr.trim() })
    })
  })
}

/** SHA-256 over names and bytes of all files of an artifact, hidden ones too. */
function digest(out) {
  const hash = createHash('sha256')
  for (const name of readdirSync(out, { recursive: true }).sort()) {
    hash.update(`${name}\n`)
    const path = join(out, name)
    if (!name.startsWith('.spexpand')) hash.update(readFileSync(path))
  }
  return hash.digest('hex')
}

const failures = []
function row(...cells) {
  console.log(`| ${cells.join(' | ')} |`)
}
function check(isSound, what) {
  if (!isSound) failures.push(what)
  return isSound ? 'yes' : 'NO'
}

/** Kills one run, starts it again, and compares. Says how many seconds the run took if it ended before. */
async function killed(moment, until, expected) {
  const out = join(folder, 'killed')
  rmSync(out, { recursive: true, force: true })
  const first = await compress(out, until(out))
  const state = join(out, '.spexpand')
  const blocks = existsSync(state)
    ? readdirSync(state).filter((name) => /^block-\d+\.safetensors$/.test(name)).length
    : 0
  const looksFinished = existsSync(join(out, 'spexpand.json'))
  if (first.code === 0) {
    row(moment, `ended before, after ${first.seconds.toFixed(2)} s`, '', '', check(digest(out) === expected, moment))
    return first.seconds
  }
  // Killed after the manifest was written but before the state was removed: finished in all but that.
  const again = await compress(out)
  const isSame = again.code === 0 && digest(out) === expected
  row(
    moment,
    `${first.seconds.toFixed(2)} s`,
    `${blocks} of ${BLOCKS}${looksFinished ? ', manifest' : ''}`,
    again.code === 0 ? `${again.json.resumedBlocks} blocks` : `exit ${again.code}: ${again.error.split('\n').at(-1)}`,
    check(isSame && again.json.resumedBlocks === blocks, moment),
  )
  return undefined
}

/** Whether a file of --out is there. */
const appears = (name) => (out) => () => existsSync(join(out, name))

async function kills(expected, seconds) {
  console.log('\n## Killed (SIGKILL) and started again\n')
  row('moment', 'after', 'finished then', 'continued with', 'same bytes')
  row('---', '---', '---', '---', '---')
  let longest = seconds
  for (let kill = 1; kill <= KILLS;) {
    const after = random() * longest * 1000
    const ended = await killed(`random ${kill}`, () => (ms) => ms > after, expected)
    if (ended === undefined) kill++
    else longest = Math.min(longest, ended)
  }
  const names = ['.spexpand/lock', '.spexpand/run.json']
  for (let layer = 0; layer < BLOCKS; layer++)
    names.push(`.spexpand/block-${String(layer).padStart(5, '0')}.safetensors`)
  names.push(
    'model.safetensors.partial',
    'model.safetensors',
    'model.onnx',
    'config.json',
    'tokenizer.json',
    'spexpand.json.partial',
    'spexpand.json',
  )
  for (const name of names) await killed(`${name} appears`, appears(name), expected)
}

async function race(expected) {
  console.log('\n## Two processes on one --out\n')
  row('try', 'exit codes', 'the one refused says', 'same bytes')
  row('---', '---', '---', '---')
  for (let i = 0; i < 3; i++) {
    const out = join(folder, `race-${i}`)
    const both = await Promise.all([compress(out), compress(out)])
    const codes = both.map(({ code }) => code).sort()
    const refused = both.find(({ code }) => code === 2)
    const isSound = codes.join() === '0,2' && /is writing there/.test(refused.error) && digest(out) === expected
    row(
      i + 1,
      codes.join(' and '),
      refused?.error.replaceAll(folder, '…').split('\n').at(-1) ?? 'nothing',
      check(isSound, `race ${i + 1}`),
    )
  }
}

const mount = (...args) => spawnSync('mount', args, { encoding: 'utf8' })

/** Needs the right to mount a file system of a few MB. */
async function fullDisk(expected) {
  console.log('\n## Disk full\n')
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  const refusal = mount('-t', 'tmpfs', '-o', 'size=64m', 'spexpand', disk)
  if (refusal.status !== 0) return console.log(`SKIPPED: cannot mount a small tmpfs: ${String(refusal.stderr).trim()}`)
  try {
    row('size', 'exit code', 'message', 'looks finished', 'with more space: continued with', 'same bytes')
    row('---', '---', '---', '---', '---', '---')
    const out = join(disk, 'out')
    for (const size of ['1m', '4m', '8m', '12m', '16m', '20m']) {
      rmSync(out, { recursive: true, force: true })
      mount('-o', `remount,size=${size}`, disk)
      const first = await compress(out)
      const looksFinished = existsSync(join(out, 'spexpand.json'))
      mount('-o', 'remount,size=256m', disk)
      const again = first.code === 0 ? first : await compress(out)
      const isSound =
        again.code === 0 && digest(out) === expected && (first.code === 0 || (first.code === 5 && !looksFinished))
      const message = first.error.split('\n').at(-1).replaceAll(folder, '…')
      row(
        size,
        first.code,
        message,
        looksFinished,
        again.json ? `${again.json.resumedBlocks} blocks` : `exit ${again.code}`,
        check(isSound, `disk ${size}`),
      )
    }
  } finally {
    spawnSync('umount', [disk])
  }
}

try {
  writeFileSync(text, readFileSync(CORPUS, 'utf8').slice(0, 50_000))
  const reference = join(folder, 'undisturbed')
  const { code, seconds, error } = await compress(reference)
  if (code !== 0) throw new Error(`the undisturbed run ended with ${code}: ${error}`)
  const expected = digest(reference)
  console.log(`Undisturbed: ${seconds.toFixed(2)} s, SHA-256 ${expected.slice(0, 16)}…, seed ${seed}`)
  await kills(expected, seconds)
  await race(expected)
  await fullDisk(expected)
  console.log(failures.length === 0 ? '\nAll the same bytes.' : `\nFAILED: ${failures.join('; ')}`)
  process.exitCode = failures.length === 0 ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
