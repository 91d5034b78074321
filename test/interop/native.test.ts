import { execFileSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { randomArtifact } from '../fixtures/randomArtifact.ts'

/** A python with onnx, onnxruntime and numpy; CI sets it. */
const PYTHON = process.env['SPEXPAND_PYTHON']
const SCRIPT = fileURLToPath(new URL('check_native.py', import.meta.url))
const SUFFIX = { darwin: 'dylib', win32: 'dll' }[process.platform as string] ?? 'so'
const LIBRARY = fileURLToPath(new URL(`../../dist/native/libspexpand_ops.${SUFFIX}`, import.meta.url))
const isPossible = PYTHON !== undefined && existsSync(LIBRARY)
if (!isPossible) console.log('SKIPPED test/interop/native: no SPEXPAND_PYTHON, or no library (npm run build:native)')

const folders: string[] = []
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

it.skipIf(!isPossible)(
  'RegisterCustomOps() gives stock onnxruntime kernels that equal numpy and the functions of artifacts',
  async () => {
    const forms = [
      { model: 'llama', experts: 4, sparsity: 0.7, split: true, values: { type: 'f16' } },
      { model: 'llama-bf16', experts: 1, sparsity: 0.5, values: { type: 'bf16' } },
      { model: 'mistral', experts: 2, sparsity: 0.7, values: { type: 'int8', groupSize: 0 } },
      { model: 'llama', experts: 3, sparsity: 0.7, values: { type: 'int4', groupSize: 32 }, stockBody: 'fold' },
    ] as const
    const artifacts: string[] = []
    for (const form of forms) artifacts.push((await randomArtifact(form)).folder)
    folders.push(...artifacts.map((folder) => join(folder, '..')))
    const printed = execFileSync(PYTHON!, [SCRIPT, LIBRARY, ...artifacts], { encoding: 'utf8' })
    expect(printed).toMatch(/^OK onnxruntime .*: \d{3} runs, \d{2} refusals(, \d+ bodies( and logits to \S+)?){4}\n$/)
  },
  180_000,
)
