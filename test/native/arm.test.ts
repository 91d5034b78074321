import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Target } from './build-driver.ts'
import { buildDriver, canBuild } from './build-driver.ts'

const TRIPLE = 'aarch64-linux-gnu'
const AARCH64: Target = {
  compiler: `${TRIPLE}-g++`,
  arch: 'arm64',
  flags: ['-O2', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'],
  folder: 'sanitized-arm64',
}
const EMULATOR = 'qemu-aarch64'
const isPossible = process.arch === 'x64' && canBuild(AARCH64) && spawnSync(EMULATOR, ['--version']).status === 0
if (!isPossible) console.log(`SKIPPED test/native/arm: no x86 with ${AARCH64.compiler} and ${EMULATOR}`)

const run = promisify(execFile)

const BUILD = fileURLToPath(new URL('../../src/native/build.mjs', import.meta.url))
const PREBUILDS = fileURLToPath(new URL('../../prebuilds/linux-arm64/', import.meta.url))

describe.skipIf(!isPossible)('NEON kernels under qemu, AddressSanitizer and UBSan', () => {
  let driver = ''
  beforeAll(async () => {
    driver = await buildDriver(AARCH64)
  }, 900_000)

  /** What the driver prints on a processor that has everything, or on the one named. */
  const emulate = async (args: readonly string[], cpu = 'max'): Promise<string> => {
    // Leaks are looked for through ptrace, which the emulator has not.
    const env = { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' }
    const { stdout } = await run(EMULATOR, ['-L', `/usr/${TRIPLE}`, '-cpu', cpu, driver, ...args], { env })
    return stdout
  }

  it.each(['scalar', 'neon', 'neon-dot'])(
    'sparseMatMul() and neuronFfn() equal plain loops on every type, shape and regime: %s',
    async (isa) => {
      expect(await emulate(['compare', isa])).toMatch(/^[\w-]+: 1\d{3} cases, 0 failures$/m)
    },
    300_000,
  )

  it.each(['neon', 'neon-dot'])(
    'verifyExpert() and completeStack() refuse what would be read out of bounds: %s',
    async (isa) => {
      expect(await emulate(['fuzz', isa, '7', '1000'])).toMatch(/[1-9]\d+ refused, [1-9]\d+ ran, 0 missed/)
    },
    120_000,
  )

  it('isaNamed() gives neon-dot only to processors with sdot', async () => {
    expect((await emulate(['isas'])).trim().split('\n')).toEqual(['scalar', 'neon', 'neon-dot'])
    expect((await emulate(['isas'], 'cortex-a53')).trim().split('\n')).toEqual(['scalar', 'neon'])
    await expect(emulate(['compare', 'neon-dot'], 'cortex-a53')).rejects.toThrow('does not have all of it')
    expect(await emulate(['fuzz', 'neon', '3', '30'], 'cortex-a53')).toMatch(/ 0 missed/)
  }, 60_000)

  it.each(['libspexpand_ops.so', 'spexpand.node'])(
    'build.mjs --target makes a library for the processor that it names: %s',
    async (file) => {
      await run(process.execPath, [BUILD, '--target', TRIPLE])
      const machine = readFileSync(join(PREBUILDS, file)).readUInt16LE(18)
      expect(machine).toBe(183) // EM_AARCH64
    },
    600_000,
  )
})

it('build.mjs --target refuses what it does not know, and ends with 4', () => {
  const { status, stderr } = spawnSync(process.execPath, [BUILD, '--target', 'pdp11'], { encoding: 'utf8' })
  expect(stderr).toContain('--target is "pdp11", expected e.g. aarch64-linux-gnu')
  expect(status).toBe(4)
})
