import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { buildDriver, canBuild } from './build-driver.ts'

const isPossible = canBuild()
if (!isPossible) console.log('SKIPPED test/native/kernels: no C++ compiler with AddressSanitizer and UBSan')

const run = promisify(execFile)
const ISAS = ['scalar', 'avx2', 'avx512', 'amx', 'neon', 'neon-dot']

describe.skipIf(!isPossible)('native kernels under AddressSanitizer and UBSan', () => {
  let driver = ''
  let here: string[] = []
  beforeAll(async () => {
    driver = await buildDriver()
    here = execFileSync(driver, ['isas'], { encoding: 'utf8' }).trim().split('\n')
  }, 900_000)

  it.each(ISAS)(
    'sparseMatMul() and neuronFfn() equal plain loops on every type, shape and regime: %s',
    async (isa) => {
      if (!here.includes(isa)) return expect(run(driver, ['compare', isa])).rejects.toThrow('does not have all of it')
      const { stdout } = await run(driver, ['compare', isa])
      expect(stdout).toMatch(/^\w+: 1\d{3} cases, 0 failures$/m)
    },
    120_000,
  )

  it.each(ISAS)(
    'verifyExpert() and completeStack() refuse what would be read out of bounds: %s',
    async (isa) => {
      if (!here.includes(isa))
        return expect(run(driver, ['fuzz', isa, '1', '1'])).rejects.toThrow('does not have all of it')
      const { stdout } = await run(driver, ['fuzz', isa, '7', '3000'])
      expect(stdout).toMatch(/[1-9]\d+ refused, [1-9]\d+ ran, 0 missed/)
    },
    120_000,
  )

  it('isaNamed() refuses a name that it does not know', async () => {
    await expect(run(driver, ['compare', 'sse2'])).rejects.toThrow(
      'expected scalar, avx2, avx512, amx, neon or neon-dot',
    )
  })
})
