import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { promisify } from 'node:util'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const TESTS = join(HERE, '..')
const NATIVE = join(HERE, '..', '..', '..', 'src', 'native')
const OBJECTS = join(HERE, '..', '..', '..', 'dist', 'native', 'shim')
const COMPILER = process.env['CXX'] ?? 'c++'
const SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined']
// Kernels read words of bytes: nvcc has no strict aliasing.
const FLAGS = ['-O1', '-std=c++17', '-Wall', '-Wextra', '-Werror', '-fno-strict-aliasing', ...SANITIZERS]
const INCLUDES = [`-I${NATIVE}`, `-I${TESTS}`, `-I${HERE}`]

const DEVICE = [
  join(NATIVE, 'cuda', 'launch.cu'),
  join(NATIVE, 'cuda', 'error.cpp'),
  join(HERE, 'shim.cpp'),
  join(HERE, 'machine.cpp'),
]
/** The scalar CPU kernels, and the CPU's checks of a stack. */
const CPU = ['rows_scalar.cpp', 'rounded_scalar.cpp', 'verify.cpp'].map((name) => join(NATIVE, 'kernels', name))
const OPERATORS = ['sparse_op.cpp', 'neuron_op.cpp', 'register.cpp'].map((name) => join(NATIVE, 'cuda', name))

/** Paths of two programs, compiled with the shim under AddressSanitizer and UBSan. */
export async function buildWithShim(): Promise<{ readonly kernels: string; readonly operators: string }> {
  mkdirSync(OBJECTS, { recursive: true })
  const device = await Promise.all(DEVICE.map(compile))
  const kernels = join(OBJECTS, 'kernels')
  await link([...device, ...(await compileAll([...CPU, join(HERE, 'compare.cpp')]))], kernels)
  const operators = join(OBJECTS, 'operators')
  const rest = [join(NATIVE, 'ops', 'ort_kernel.cpp'), join(HERE, 'onnxruntime.cpp'), join(HERE, 'operators.cpp')]
  await link([...device, ...(await compileAll([...OPERATORS, ...rest]))], operators)
  return { kernels, operators }
}

async function compileAll(units: readonly string[]): Promise<string[]> {
  const objects: string[] = []
  for (const unit of units) objects.push(await compile(unit))
  return objects
}

async function compile(unit: string): Promise<string> {
  const object = join(OBJECTS, `${unit.split('/').slice(-2).join('.')}.o`)
  await run([...FLAGS, ...INCLUDES, '-x', 'c++', '-c', unit, '-o', object])
  return object
}

async function link(objects: readonly string[], target: string): Promise<void> {
  await run([...SANITIZERS, ...objects, '-ldl', '-o', target])
}

async function run(args: readonly string[]): Promise<void> {
  await promisify(execFile)(COMPILER, args, { maxBuffer: 1 << 26 })
}
