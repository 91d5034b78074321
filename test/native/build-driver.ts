import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const ROOT = join(HERE, '..', '..')
const NATIVE = join(ROOT, 'src', 'native')
const COMMON = ['-std=c++17', '-Wall', '-Wextra', `-I${NATIVE}`, `-I${HERE}`]
const AVX2 = ['-mavx2', '-mfma', '-mf16c']
const AVX512 = [
  ...AVX2,
  ...['f', 'bw', 'vl', 'dq', 'vbmi', 'vbmi2', 'vnni', 'vpopcntdq'].map((part) => `-mavx512${part}`),
]
const AMX = [...AVX512, '-mavx512bf16', '-mamx-tile', '-mamx-bf16']
/** By the word before .cpp, as in src/native/build.mjs. */
const INSTRUCTION_SETS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  x64: { avx2: AVX2, avx512: AVX512, amx: AMX },
  arm64: { neon: [], neondot: ['-march=armv8.2-a+dotprod'] },
}
const BY_ARCH: Readonly<Record<string, readonly string[]>> = { arm64: ['-ffp-contract=off'] }

export type Target = {
  readonly compiler: string
  readonly arch: string
  /** Optimisation and sanitizers, for compiling and linking. */
  readonly flags: readonly string[]
  /** Below dist/native. */
  readonly folder: string
}

/** This machine, under AddressSanitizer and UBSan. */
export const HOST: Target = {
  compiler: process.env['CXX'] ?? 'c++',
  arch: process.arch,
  flags: ['-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'],
  folder: 'sanitized',
}

/** Whether this machine can compile for the target at all, sanitizers included. */
export function canBuild(target: Target = HOST): boolean {
  const empty = 'int main() {}'
  const args = ['-x', 'c++', '-', ...target.flags, '-o', '/dev/null']
  return spawnSync(target.compiler, args, { input: empty }).status === 0
}

/** The driver with every kernel of the target; only what changed is compiled again. */
export async function buildDriver(target: Target = HOST): Promise<string> {
  const objectFolder = join(ROOT, 'dist', 'native', target.folder)
  mkdirSync(objectFolder, { recursive: true })
  const folders = [join(NATIVE, 'kernels'), HERE]
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  const newestHeader = Math.max(...files.filter((path) => path.endsWith('.h')).map(modified))
  const units = files.filter((path) => path.endsWith('.cpp') && flagsOf(path, target.arch) !== undefined)
  const compile = async (unit: string): Promise<string> => {
    const object = join(objectFolder, `${unit.slice(ROOT.length).replaceAll('/', '_')}.o`)
    if (existsSync(object) && modified(object) > Math.max(newestHeader, modified(unit))) return object
    const partial = `${object}.${process.pid}`
    await run(target, [
      ...COMMON,
      ...(BY_ARCH[target.arch] ?? []),
      ...flagsOf(unit, target.arch)!,
      '-c',
      unit,
      '-o',
      partial,
    ])
    renameSync(partial, object)
    return object
  }
  const objects = await inParallel(units, compile)
  const driver = join(objectFolder, 'driver')
  await run(target, [...objects, '-lpthread', '-o', driver])
  return driver
}

/** Flags of a file, or undefined: it is for another processor. */
function flagsOf(unit: string, arch: string): readonly string[] | undefined {
  const set = /\.(\w+)\.cpp$/.exec(unit)?.[1]
  return set === undefined ? [] : INSTRUCTION_SETS[arch]?.[set]
}

function modified(path: string): number {
  return statSync(path).mtimeMs
}

async function run(target: Target, args: readonly string[]): Promise<void> {
  await promisify(execFile)(target.compiler, [...target.flags, ...args], { maxBuffer: 1 << 26 })
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
