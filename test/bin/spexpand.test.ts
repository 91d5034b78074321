import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'

const BIN = fileURLToPath(new URL('../../dist/bin/spexpand.js', import.meta.url))

type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** Runs the built command; `closeStdout` goes away without reading, as `| head -0` does. */
function run(args: readonly string[], options: { readonly closeStdout?: boolean } = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const text = { stdout: '', stderr: '' }
    if (options.closeStdout) child.stdout.destroy()
    else child.stdout.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...text }))
  })
}

describe('the built spexpand', () => {
  beforeAll(() => {
    if (!existsSync(BIN)) throw new Error('dist/bin/spexpand.js is missing: run npm run build first')
  })

  it('prints its version and its help on standard output', async () => {
    expect(await run(['--version'])).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    })
    const help = await run(['compress', '--help'])
    expect(help).toMatchObject({ code: 0, stderr: '' })
    expect(help.stdout).toContain('--sparsity <fraction>')
  })

  it('exits with 2 and one line for a wrong value, and adds an object under --json', async () => {
    const message = '--sparsity: got 1.5, wanted a number in [0, 1), e.g. 0.7'
    const ended = await run(['compress', '--sparsity', '1.5', '--json'])
    expect(ended).toMatchObject({ code: 2, stderr: `spexpand: ${message}\n` })
    expect(JSON.parse(ended.stdout)).toEqual({ error: { kind: 'usage', message } })
  })

  it('exits with 3 for a model that is not there', async () => {
    const ended = await run(['plan', 'no-such-model', '--no-probe', '--quiet'])
    expect(ended).toMatchObject({ code: 3, stdout: '' })
    expect(ended.stderr).toMatch(/^spexpand: [^\n]*no-such-model[^\n]*\n$/)
  })

  it('says nothing when nobody reads its output', async () => {
    expect(await run(['compress', '--help'], { closeStdout: true })).toEqual({ code: 0, stdout: '', stderr: '' })
  })
})
