import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = new URL('..', import.meta.url).pathname

/** Which module may import which, besides itself and LEAVES. docs/architecture.md shows the same table. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  bin: ['index'],
  index: [
    'pipeline',
    'export',
    'calibration',
    'mixture',
    'cluster',
    'prune',
    'verify',
    'graph',
    'runtime',
    'model',
  ].concat(['formats', 'linalg', 'entangle', 'report', 'predict', 'hub']),
  pipeline: ['export', 'calibration', 'mixture', 'cluster', 'prune', 'verify', 'graph', 'runtime', 'model'].concat([
    'formats',
    'linalg',
    'entangle',
    'report',
    'predict',
    'hub',
  ]),
  export: ['mixture', 'graph', 'formats', 'model', 'predict'],
  calibration: ['model', 'graph', 'runtime', 'formats', 'linalg'],
  mixture: ['cluster', 'prune'],
  cluster: ['linalg'],
  prune: ['linalg'],
  entangle: ['linalg', 'mixture'],
  predict: ['linalg'],
  report: ['entangle'],
  verify: ['runtime', 'model', 'formats'],
  runtime: ['formats'],
  graph: ['formats', 'model'],
  model: ['formats'],
  formats: [],
  linalg: [],
  hub: [],
}

/** What everybody may import: errors, plain data, the version. */
const LEAVES = ['errors', 'tensor', 'version']

/** Words shared by all, imported as types only. */
const SHARED_TYPES = 'src/pipeline/types.ts'

/** Where each dependency may be imported: one place each, so that it can be replaced there. */
const EXTERNALS: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['src/runtime/'],
  'onnxruntime-common': ['src/runtime/'],
  'ml-kmeans': ['src/cluster/kmeans.ts'],
  'ml-matrix': ['src/linalg/eigen.ts'],
  protobufjs: ['src/formats/onnx/'],
  '@huggingface/tokenizers': ['src/model/tokenizer.ts'],
  '@huggingface/jinja': ['src/pipeline/chat.ts'],
  zod: ['src/model/', 'src/verify/', 'src/pipeline/', 'export/'],
  '@observablehq/plot': ['src/report/draw.ts'],
  linkedom: ['src/report/draw.ts'],
  commander: ['bin/'],
  'cli-progress': ['bin/progress.ts'],
}

/** Arithmetic only: no file, no clock, no process. */
const PURE = ['cluster', 'prune', 'mixture', 'entangle', 'predict', 'report', 'tensor']

type Import = { readonly file: string; readonly from: string; readonly typeOnly: boolean }

const IMPORT =
  /^\s*(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm

const files = ['src', 'bin', 'calibration', 'export'].flatMap((folder) => sourceFiles(folder))
const imports = files.flatMap((file) => importsOf(file))
const internal = imports.filter(({ from }) => from.startsWith('.'))
const external = imports.filter(({ from }) => !from.startsWith('.'))

function sourceFiles(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts') && !path.startsWith('src/kernels/assembly/'))
    .sort()
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

function importsOf(file: string): Import[] {
  return [...read(file).matchAll(IMPORT)].map((match) => ({
    file,
    from: (match[2] ?? match[3] ?? match[4])!,
    typeOnly: match[1] !== undefined,
  }))
}

/** 'src/prune/x.ts' is in 'prune', 'src/errors.ts' in 'errors', 'bin/commands/x.ts' in 'bin'. */
function moduleOf(file: string): string {
  const [top, second] = file.split('/')
  return top === 'src' ? second!.replace(/\.ts$/, '') : top!
}

/** Code without comments and strings, so that words in them are not mistaken for calls. */
function codeOf(file: string): string {
  return read(file)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[^:])\/\/.*$/gm, '$1')
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
}

function layerBreach({ file, from, typeOnly }: Import): string | undefined {
  const target = posix.join(dirname(file), from)
  const [source, wanted] = [moduleOf(file), moduleOf(target)]
  if (source === wanted || LEAVES.includes(wanted) || (target === SHARED_TYPES && typeOnly)) return undefined
  if (MAY_IMPORT[source]?.includes(wanted)) return undefined
  return `${file} imports ${target}: ${source} may import ${MAY_IMPORT[source]?.join(', ') || 'nothing'}`
}

/** 'protobufjs/light.js' is of 'protobufjs', '@huggingface/tokenizers/x' of '@huggingface/tokenizers'. */
function packageOf(from: string): string {
  return from.split('/', from.startsWith('@') ? 2 : 1).join('/')
}

describe('imports', () => {
  it('are found: the table below is checked against something', () => {
    expect(internal.length).toBeGreaterThan(50)
    expect(external.map(({ from }) => from)).toContain('commander')
  })

  it('only point down the table of modules', () => {
    expect(internal.map((one) => layerBreach(one)).filter(Boolean)).toEqual([])
  })

  it('have a row in the table for every module', () => {
    const known = [...Object.keys(MAY_IMPORT), ...LEAVES]
    expect(files.filter((file) => !known.includes(moduleOf(file)))).toEqual([])
  })

  it('form no circle between modules', () => {
    const below = (name: string, path: readonly string[]): string[] =>
      path.includes(name)
        ? [[...path, name].join(' -> ')]
        : MAY_IMPORT[name]!.flatMap((next) => below(next, [...path, name]))
    expect(Object.keys(MAY_IMPORT).flatMap((name) => below(name, []))).toEqual([])
  })

  it('name the .ts file', () => {
    expect(internal.filter(({ from }) => !from.endsWith('.ts'))).toEqual([])
  })

  it('of a dependency are in its one place', () => {
    const breaches = external
      .filter(({ from }) => !from.startsWith('node:'))
      .filter(({ file, from }) => !(EXTERNALS[packageOf(from)] ?? []).some((place) => file.startsWith(place)))
    expect(breaches).toEqual([])
  })

  it('of Node are absent where only arithmetic lives', () => {
    expect(external.filter(({ file, from }) => PURE.includes(moduleOf(file)) && from.startsWith('node:'))).toEqual([])
  })

  it('are the table of docs/architecture.md', () => {
    const rows = [...read('docs/architecture.md').matchAll(/^\| `(\w+)` \| (.*) \|$/gm)]
    const documented = Object.fromEntries(
      rows.map(([, name, list]) => [name, list === 'nothing' ? [] : list!.split(', ')]),
    )
    expect(documented).toEqual(MAY_IMPORT)
  })
})

describe('the library', () => {
  const library = files.filter((file) => !file.startsWith('bin/'))

  it.each([
    ['console', /\bconsole\s*\./],
    ['process.exit and the standard streams', /\bprocess\.(exit|stdout|stderr)\b/],
    ['Date', /\bDate\s*[.(]|new Date\b/],
    ['Math.random', /\bMath\.random\b/],
    ['crypto randomness', /\b(randomUUID|randomBytes|getRandomValues)\b/],
  ])('uses no %s', (_, pattern) => {
    expect(library.filter((file) => pattern.test(codeOf(file)))).toEqual([])
  })

  it('reads the clock only in the pipeline, for the wall times of its results', () => {
    const clock = /\b(performance\.now|hrtime)\b/
    expect(library.filter((file) => !file.startsWith('src/pipeline/') && clock.test(codeOf(file)))).toEqual([])
  })

  it('has no default export, enum, namespace or any', () => {
    const unwanted = /\bexport default\b|^\s*(export )?(const )?enum \w|^\s*(export )?namespace \w|(:|<|as) any\b/m
    expect(files.filter((file) => unwanted.test(codeOf(file)))).toEqual([])
  })
})
