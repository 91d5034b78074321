import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { canBuild } from './build-driver.ts'
import { buildWithShim } from './cuda/build.ts'

const BUILD = fileURLToPath(new URL('../../src/native/build.mjs', import.meta.url))
const LIBRARY = fileURLToPath(new URL('../../dist/native/libspexpand_ops_cuda.so', import.meta.url))
const isPossible = process.platform === 'linux' && canBuild()
if (!isPossible) console.log('SKIPPED test/native/cuda: no Linux with a C++ compiler, AddressSanitizer and UBSan')
const hasNvcc = spawnSync(process.env['NVCC'] ?? 'nvcc', ['--version']).status === 0
if (!hasNvcc) console.log('SKIPPED test/native/cuda, compilation by nvcc: there is none')

const run = promisify(execFile)

describe.skipIf(!isPossible)('CUDA kernels through the shim, under AddressSanitizer and UBSan', () => {
  let programs = { kernels: '', operators: '' }
  beforeAll(async () => {
    programs = await buildWithShim()
  }, 600_000)

  it('runProduct() and runNeurons() equal the scalar CPU kernels on every type, shape and regime', async () => {
    const { stdout } = await run(programs.kernels, ['compare'])
    expect(stdout).toMatch(/^4\d\d cases, 0 failures$/m)
  }, 240_000)

  it('verifyStack() refuses what the CPU refuses, and nothing else', async () => {
    const { stdout } = await run(programs.kernels, ['refuse'])
    expect(stdout).toMatch(/^1200 cases, [4-9]\d\d refused, 0 failures$/m)
  }, 120_000)

  it('RegisterCustomOps() gives operators that compute, and that name what is wrong', async () => {
    const { stdout } = await run(programs.operators)
    expect(stdout).toMatch(/^\d\d cases, 0 failures$/m)
  }, 60_000)

  it.skipIf(!hasNvcc)(
    'build.mjs --cuda compiles a library that registers, or says which GPU and driver it wants',
    async () => {
      const { stderr } = await run(process.execPath, [BUILD, '--cuda'])
      expect(stderr).toContain('libspexpand_ops_cuda.so')
      const { stdout } = await run(programs.operators, [LIBRARY])
      expect(stdout).toMatch(
        /^14 operators: $|^0 operators: Cannot register the CUDA operators of .*, expected a GPU and a driver for CUDA/m,
      )
    },
    300_000,
  )
})

it('build.mjs --cuda says what to install where there is no nvcc, and ends with 4', () => {
  const { status, stderr } = spawnSync(process.execPath, [BUILD, '--cuda'], {
    env: { ...process.env, NVCC: '/nowhere/nvcc' },
    encoding: 'utf8',
  })
  expect(stderr).toMatch(process.platform === 'linux' ? 'install the CUDA toolkit' : 'Linux')
  expect(status).toBe(4)
})
