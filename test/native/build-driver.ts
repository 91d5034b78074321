import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const ROOT = join(HERE, '..', '..')
const NATIVE = join(ROOT, 'src', 'native')
const OBJECTS = join(ROOT, 'dist', 'native', 'sanitized')
const COMPILER = process.env['CXX'] ?? 'c++'
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined']
const COMMON = ['-O1', '-std=c++17', '-Wall', '-Wextra', `-I${NATIVE}`, `-I${HERE}`, ...SANITIZERS]
const AVX2 = ['-mavx2', '-mfma', '-mf16c']
const AVX512 = [
  ...AVX2,
  ...['f', 'bw', 'vl', 'dq', 'vbmi', 'vbmi2', 'vnni', 'vpopcntdq'].map((part) => `-mavx512${part}`),
]
const AMX = [...AVX512, '-mavx512bf16', '-mamx-tile', '-mamx-bf16']

/** Whether this machine can compile with AddressSanitizer and UBSan at all. */
export function canBuild(): boolean {
  const empty = 'int main() {}'
  const args = ['-x', 'c++', '-', ...SANITIZERS, '-o', '/dev/null']
  return spawnSync(COMPILER, args, { input: empty }).status === 0
}

/** The driver with every kernel, under AddressSanitizer and UBSan; only what changed is compiled again. */
export async function buildDriver(): Promise<string> {
  mkdirSync(OBJECTS, { recursive: true })
  const folders = [join(NATIVE, 'kernels'), HERE]
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  const newestHeader = Math.max(...files.filter((path) => path.endsWith('.h')).map(modified))
  const units = files.filter((path) => path.endsWith('.cpp') && (process.arch === 'x64' || !flagsOf(path).length))
  const objects = await inParallel(units, (unit) => compile(unit, newestHeader))
  const driver = join(OBJECTS, 'driver')
  await run([...SANITIZERS, ...objects, '-lpthread', '-o', driver])
  return driver
}

async function compile(unit: string, newestHeader: number): Promise<string> {
  const object = join(OBJECTS, `${unit.slice(ROOT.length).replaceAll('/', '_')}.o`)
  if (existsSync(object) && modified(object) > Math.max(newestHeader, modified(unit))) return object
  const partial = `${object}.${process.pid}`
  await run([...COMMON, ...flagsOf(unit), '-c', unit, '-o', partial])
  renameSync(partial, object)
  return object
}

function flagsOf(unit: string): string[] {
  if (unit.endsWith('.amx.cpp')) return AMX
  if (unit.endsWith('.avx2.cpp')) return AVX2
  return unit.endsWith('.avx512.cpp') ? AVX512 : []
}

function modified(path: string): number {
  return statSync(path).mtimeMs
}

async function run(args: readonly string[]): Promise<void> {
  await promisify(execFile)(COMPILER, args, { maxBuffer: 1 << 26 })
}

async function inParallel<T, R>(items: readonly T[], task: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++
      results[at] = await task(items[at]!)
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
  return results
}
