// Builds the native parts with the system's C++ compiler (no node-gyp, nothing downloaded):
//   dist/native/libspexpand_ops.so   custom operators for onnxruntime   (kernels/ ops/ gemm/)
//   dist/native/spexpand.node        addon: products and sessions       (addon/ gemm/)
//   dist/native/libspexpand_ops_cuda.so, only with --cuda: cuda/build.mjs, by nvcc   (not yet run on a GPU)
// --optional: where they cannot be built say so and succeed; everything works without them, slower.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildCuda } from './cuda/build.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')
const out = join(root, 'dist', 'native')
const objects = join(out, 'objects')
const compiler = process.env.CXX ?? 'c++'
const isX86 = process.arch === 'x64'
const extension = { darwin: 'dylib', win32: 'dll' }[process.platform] ?? 'so'

const COMMON = ['-O3', '-std=c++17', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-fno-rtti', '-Wall', '-Wextra']
COMMON.push('-Wno-maybe-uninitialized') // gcc 12 warns about its own intrinsics
const AVX2 = ['-mavx2', '-mfma', '-mf16c']
const AVX512 = [
  ...AVX2,
  ...['f', 'bw', 'vl', 'dq', 'vbmi', 'vbmi2', 'vnni', 'vpopcntdq'].map((part) => `-mavx512${part}`),
]
const AMX = [...AVX512, '-mavx512bf16', '-mamx-tile', '-mamx-bf16', '-mamx-int8']
/** Files for one instruction set are named for it; only they may use it, and only after a look at the processor. */
const BY_SUFFIX = { '.avx2.cpp': AVX2, '.avx512.cpp': AVX512, '.amx.cpp': AMX }

const LIBRARIES = [
  { file: `libspexpand_ops.${extension}`, folders: ['kernels', 'ops', 'gemm'], flags: [] },
  { file: 'spexpand.node', folders: ['addon', 'gemm'], flags: addonLinkFlags() },
]

if (process.argv.includes('--cuda')) {
  buildCuda()
  process.exit(0)
}
if (spawnSync(compiler, ['--version']).status !== 0) {
  stop(`no C++ compiler ("${compiler}"): install g++ or clang (or set CXX), then npm run build:native`)
}
mkdirSync(objects, { recursive: true })
const newestHeader = Math.max(
  0,
  ...sources(['.h'], readdirSync(here)).map(modified),
  modified(fileURLToPath(import.meta.url)),
)
for (const library of LIBRARIES) await build(library)

async function build({ file, folders, flags }) {
  const units = sources(['.cpp'], folders).filter((path) => isX86 || !suffixOf(path))
  if (!units.some((path) => path.includes(`${folders[0]}`))) return
  const compiled = await inParallel(units, compile)
  const target = join(out, file)
  if (existsSync(target) && compiled.every((object) => modified(object) <= modified(target))) return
  const partial = `${target}.${process.pid}.partial`
  await run([
    ...COMMON,
    '-shared',
    ...compiled,
    '-o',
    partial,
    ...flags,
    '-lpthread',
    ...(process.platform === 'linux' ? ['-ldl'] : []),
  ])
  renameSync(partial, target)
}

async function compile(path) {
  const object = join(objects, `${basename(dirname(path))}.${basename(path, '.cpp')}.o`)
  if (existsSync(object) && modified(object) > Math.max(modified(path), newestHeader)) return object
  const suffix = suffixOf(path)
  const includes = path.includes('addon') ? nodeIncludes() : []
  const partial = `${object}.${process.pid}.partial`
  await run([...COMMON, ...(suffix ? BY_SUFFIX[suffix] : []), ...includes, `-I${here}`, '-c', path, '-o', partial])
  renameSync(partial, object)
  return object
}

function suffixOf(path) {
  return Object.keys(BY_SUFFIX).find((suffix) => path.endsWith(suffix))
}

function sources(extensions, folders) {
  return folders
    .map((folder) => join(here, folder))
    .filter((folder) => existsSync(folder) && statSync(folder).isDirectory())
    .flatMap((folder) =>
      readdirSync(folder)
        .sort()
        .map((name) => join(folder, name)),
    )
    .filter((path) => extensions.some((extension) => path.endsWith(extension)))
}

/** The headers of Node-API lie beside node in its official packages. */
function nodeIncludes() {
  const folder = join(dirname(process.execPath), '..', 'include', 'node')
  if (!existsSync(join(folder, 'node_api.h'))) {
    stop(`no Node-API headers (${folder}/node_api.h): install those of Node ${process.version}, e.g. libnode-dev`)
  }
  return [`-isystem${folder}`]
}

function addonLinkFlags() {
  return process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []
}

/** Says why there are no native kernels, and ends. */
function stop(why) {
  console.error(`The native kernels are not built: ${why}`)
  process.exit(process.argv.includes('--optional') ? 0 : 4)
}

function modified(path) {
  return statSync(path).mtimeMs
}

async function inParallel(items, task) {
  const results = []
  let next = 0
  const worker = async () => {
    while (next < items.length) {
      const at = next++
      results[at] = await task(items[at])
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
  return results
}

function run(args) {
  return new Promise((resolve) => {
    spawn(compiler, args, { stdio: 'inherit' }).on('close', (status) => {
      if (status === 0) return resolve()
      stop(`${compiler} ${args.join(' ')} ended with ${status}`)
    })
  })
}
