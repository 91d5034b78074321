// Builds the native parts with the system's C++ compiler (no node-gyp, nothing downloaded):
//   dist/native/libspexpand_ops.so   custom operators for onnxruntime   (kernels/ ops/ gemm/)
//   dist/native/spexpand.node        addon: products and sessions       (addon/ gemm/)
//   dist/native/libspexpand_ops_cuda.so, only with --cuda: cuda/build.mjs, by nvcc
// --optional: where they cannot be built say so and succeed; everything works without them, slower.
// --target TRIPLE: for another processor, by TRIPLE-g++ (or what CXX names), into prebuilds/PLATFORM-ARCH.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildCuda } from './cuda/build.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')
const target = targetNamed()
const out = target.folder
const objects = join(root, 'dist', 'native', 'objects', target.name)
const compiler = process.env.CXX ?? target.compiler
const extension = target.platform === 'darwin' ? 'dylib' : 'so'

const COMMON = ['-O3', '-std=c++17', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-fno-rtti', '-Wall', '-Wextra']
COMMON.push('-Wno-maybe-uninitialized') // gcc 12 warns about its own intrinsics
const AVX2 = ['-mavx2', '-mfma', '-mf16c']
const AVX512 = [
  ...AVX2,
  ...['f', 'bw', 'vl', 'dq', 'vbmi', 'vbmi2', 'vnni', 'vpopcntdq'].map((part) => `-mavx512${part}`),
]
const AMX = [...AVX512, '-mavx512bf16', '-mamx-tile', '-mamx-bf16', '-mamx-int8']
/** Files for one instruction set are named for it; only they may use it, and only after a look at the processor. */
const INSTRUCTION_SETS = {
  x64: { avx2: AVX2, avx512: AVX512, amx: AMX },
  arm64: { neon: [], neondot: ['-march=armv8.2-a+dotprod'] },
}
// There every processor has fused multiply-adds, and compilers make them of products and sums. Rounding then differs
// from what all instruction sets agree on.
if (target.arch === 'arm64') COMMON.push('-ffp-contract=off')

const LIBRARIES = [
  { file: `libspexpand_ops.${extension}`, folders: ['kernels', 'ops', 'gemm'], flags: [] },
  { file: 'spexpand.node', folders: ['addon', 'gemm'], flags: addonLinkFlags() },
]

if (target.platform === 'win32') stop('Windows has no dlopen, by which the addon finds onnxruntime: build under WSL')
if (process.argv.includes('--cuda')) {
  buildCuda()
  process.exit(0)
}
if (spawnSync(compiler, ['--version']).status !== 0) {
  stop(`no C++ compiler ("${compiler}"): install g++ or clang (or set CXX), then npm run build:native`)
}
mkdirSync(out, { recursive: true })
mkdirSync(objects, { recursive: true })
const newestHeader = Math.max(
  0,
  ...sources(['.h'], readdirSync(here)).map(modified),
  modified(fileURLToPath(import.meta.url)),
)
for (const library of LIBRARIES) await build(library)

async function build({ file, folders, flags }) {
  const units = sources(['.cpp'], folders).filter((path) => flagsOf(path))
  if (!units.some((path) => path.includes(`${folders[0]}`))) return
  const compiled = await inParallel(units, compile)
  const library = join(out, file)
  if (existsSync(library) && compiled.every((object) => modified(object) <= modified(library))) return
  const partial = `${library}.${process.pid}.partial`
  await run([
    ...COMMON,
    '-shared',
    ...compiled,
    '-o',
    partial,
    ...flags,
    '-lpthread',
    ...(target.platform === 'linux' ? ['-ldl'] : []),
  ])
  renameSync(partial, library)
}

async function compile(path) {
  const object = join(objects, `${basename(dirname(path))}.${basename(path, '.cpp')}.o`)
  if (existsSync(object) && modified(object) > Math.max(modified(path), newestHeader)) return object
  const includes = path.includes('addon') ? nodeIncludes() : []
  const partial = `${object}.${process.pid}.partial`
  await run([...COMMON, ...flagsOf(path), ...includes, `-I${here}`, '-c', path, '-o', partial])
  renameSync(partial, object)
  return object
}

/** Flags of a file, or undefined: it is for another processor. */
function flagsOf(path) {
  const set = /\.(\w+)\.cpp$/.exec(path)?.[1]
  return set === undefined ? [] : INSTRUCTION_SETS[target.arch]?.[set]
}

/** What is built for: this machine, or what --target names as compilers do (aarch64-linux-gnu). */
function targetNamed() {
  const at = process.argv.indexOf('--target')
  if (at < 0) {
    const { platform, arch } = process
    return { name: 'host', platform, arch, compiler: 'c++', folder: join(root, 'dist', 'native') }
  }
  const triple = process.argv[at + 1] ?? ''
  const arch = { aarch64: 'arm64', arm64: 'arm64', x86_64: 'x64' }[triple.split('-')[0]]
  const platform = ['linux', 'darwin'].find((name) => triple.includes(`-${name}`))
  if (!arch || !platform) stop(`--target is "${triple}", expected e.g. aarch64-linux-gnu or x86_64-linux-gnu`)
  const folder = join(root, 'prebuilds', `${platform}-${arch}`)
  return { name: triple, platform, arch, compiler: `${triple}-g++`, folder }
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
  return target.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []
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
