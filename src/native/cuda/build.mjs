// Builds dist/native/libspexpand_ops_cuda.so: node src/native/build.mjs --cuda. What ran where: docs/native.md.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const native = dirname(here)
const out = join(native, '..', '..', 'dist', 'native')
const target = join(out, 'libspexpand_ops_cuda.so')

/** Machine code for this and, as PTX, whatever is newer: 8.0 is the oldest with all that the kernels use at speed. */
const architecture = process.env.SPEXPAND_CUDA_ARCH ?? 'sm_80'
const CXX_FLAGS = '-fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-Wall,-Wextra'

/**
 * Compiles and links with nvcc; the CUDA runtime goes in statically, so that the library loads, and can say what is
 * missing, where CUDA is not installed. Exit code 4 where there is no nvcc, 1 where it fails.
 */
export function buildCuda() {
  if (process.platform !== 'linux') stop(4, 'the CUDA operators are for Linux', 'build them there')
  const compiler = findCompiler()
  if (!compiler) stop(4, 'no CUDA compiler ("nvcc")', 'install the CUDA toolkit, or set NVCC to its nvcc')
  const sources = readdirSync(here).filter((name) => /\.(cu|cpp)$/.test(name))
  const units = [...sources.map((name) => join(here, name)), join(native, 'ops', 'ort_kernel.cpp')]
  if (isNewer(units)) return console.error(`${target} is up to date`)
  mkdirSync(out, { recursive: true })
  const partial = `${target}.${process.pid}.partial`
  const status = spawnSync(compiler, [...flags(), ...units, '-o', partial], { stdio: 'inherit' }).status
  if (status !== 0) stop(1, `${compiler} ended with ${status}`, 'see its messages above')
  renameSync(partial, target)
  console.error(`Built ${target} for ${architecture} and newer. The kernels have been run on an H100 only.`)
}

function flags() {
  const host = process.env.CXX ? ['-ccbin', process.env.CXX] : []
  const target = ['-shared', '-cudart', 'static', `-arch=${architecture}`]
  return ['-std=c++17', '-O3', ...target, ...host, `-Xcompiler=${CXX_FLAGS}`, `-I${native}`]
}

function findCompiler() {
  const places = process.env.NVCC ? [process.env.NVCC] : ['nvcc', '/usr/local/cuda/bin/nvcc']
  return places.find((place) => spawnSync(place, ['--version']).status === 0)
}

function isNewer(units) {
  if (!existsSync(target)) return false
  const headers = ['cuda', 'ops', 'ort', 'kernels'].flatMap((folder) =>
    readdirSync(join(native, folder))
      .filter((name) => name.endsWith('.h'))
      .map((name) => join(native, folder, name)),
  )
  const newest = [...units, ...headers, fileURLToPath(import.meta.url)].map((path) => statSync(path).mtimeMs)
  return statSync(target).mtimeMs > Math.max(...newest)
}

function stop(status, why, remedy) {
  console.error(`Cannot build the CUDA operators: ${why}: ${remedy}`)
  process.exit(status)
}
