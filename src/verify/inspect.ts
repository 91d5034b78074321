import { existsSync, statSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { FormatError } from '../errors.ts'
import type { TensorStore } from '../formats/safetensors/reader.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import { openWeights } from '../formats/safetensors/weights.ts'
import type { ModelConfig } from '../model/config.ts'
import { openModel } from '../model/open.ts'
import { isArtifact, openArtifact, readGraph, readGraphFile } from './artifact.ts'
import type { GraphSummary } from './inspect-graph.ts'
import { summarizeGraph } from './inspect-graph.ts'
import type { GgufSummary } from './inspect-gguf.ts'
import { inspectGguf } from './inspect-gguf.ts'
import type { ArtifactManifest } from './manifest.ts'

/** What is in a folder or file, by its kind. */
export type InspectResult =
  | ({ readonly kind: 'artifact'; readonly path: string } & ArtifactSummary)
  | {
      readonly kind: 'model'
      readonly path: string
      readonly config: ModelConfig
      readonly weights: WeightsSummary
      readonly tensors: readonly TensorSummary[]
    }
  | {
      readonly kind: 'safetensors'
      readonly path: string
      readonly weights: WeightsSummary
      readonly tensors: readonly TensorSummary[]
    }
  | GgufSummary
  | { readonly kind: 'onnx'; readonly path: string; readonly graph: GraphSummary }

export type ArtifactSummary = {
  readonly toolVersion: string
  readonly source: string
  readonly sourceSha256: string
  readonly mixture: ArtifactManifest['mixture']
  readonly options: ArtifactManifest['options']
  /** One row per pruned matrix. */
  readonly matrices: readonly MatrixSummary[]
  /** What predict --griffin wrote: ranking, density by layer, what it was measured on. */
  readonly griffin?: Readonly<Record<string, unknown>>
  readonly fallbacks: ArtifactManifest['fallbacks']
  readonly files: ArtifactManifest['files']
  readonly weights: WeightsSummary
  readonly graph: GraphSummary
}

export type MatrixSummary = {
  readonly layer: number
  readonly matrix: string
  readonly sparsity: number
  readonly error: number
  readonly baselineError: number
  readonly fewestTokens: number
  readonly mostTokens: number
}

export type WeightsSummary = {
  readonly files: readonly string[]
  readonly tensors: number
  readonly elements: number
  readonly bytes: number
  readonly dtypes: readonly { readonly dtype: string; readonly tensors: number; readonly bytes: number }[]
  readonly metadata: Readonly<Record<string, string>>
}
export type TensorSummary = {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly bytes: number
}

/**
 * Says what is in an artifact folder, a model folder, a .safetensors, .gguf or .onnx file. Reads headers and graphs, no
 * weights. Throws FormatError when it is none of these or is not what it claims to be.
 */
export function inspect(path: string): InspectResult {
  if (isArtifact(path)) return inspectArtifact(path)
  if (!existsSync(path)) throw new FormatError(`Cannot inspect ${path}: no such file or folder`)
  if (statSync(path).isDirectory()) return inspectModel(path)
  switch (extname(path)) {
    case '.safetensors':
      return { kind: 'safetensors', path, ...closing(openSafetensors(path)) }
    case '.gguf':
      return inspectGguf(path)
    case '.onnx':
      return { kind: 'onnx', path, graph: summarizeGraph(readGraphFile(path)) }
    default:
      throw new FormatError(
        `Cannot inspect ${path}: got a file ending in "${extname(path)}", wanted an artifact or model folder, ` +
          '.safetensors, .gguf or .onnx',
      )
  }
}

function inspectModel(path: string): InspectResult {
  if (!existsSync(join(path, 'config.json')))
    throw new FormatError(`Cannot inspect ${path}: the folder has neither spexpand.json nor config.json`)
  const { config, weights } = openModel(path)
  return { kind: 'model', path, config, ...closing(weights) }
}

function inspectArtifact(path: string): InspectResult {
  const { manifest } = openArtifact(path)
  return {
    kind: 'artifact',
    path,
    toolVersion: manifest.tool.version,
    source: manifest.source.name,
    sourceSha256: manifest.source.sha256,
    mixture: manifest.mixture,
    options: manifest.options,
    matrices: manifest.blocks.flatMap(matrixRows),
    ...(manifest.griffin ? { griffin: shortSection(manifest.griffin) } : {}),
    fallbacks: manifest.fallbacks,
    files: manifest.files,
    weights: closing(openWeights(path)).weights,
    graph: summarizeGraph(readGraph(path)),
  }
}

/** The tables of the section are on its page. */
function shortSection(section: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const told = ['formatVersion', 'scores', 'reference', 'densities', 'text'].filter((key) => section[key] !== undefined)
  return Object.fromEntries(told.map((key) => [key, section[key]]))
}

function matrixRows(block: ArtifactManifest['blocks'][number]): MatrixSummary[] {
  return block.matrices.map(({ matrix, sparsity, error, baselineError, experts }) => {
    const tokens = experts.map((expert) => expert.tokens)
    return {
      layer: block.layer,
      matrix,
      sparsity,
      error,
      baselineError,
      fewestTokens: Math.min(...tokens),
      mostTokens: Math.max(...tokens),
    }
  })
}

/** Summary and list of the tensors of a store, which is closed. */
function closing(store: TensorStore): { weights: WeightsSummary; tensors: TensorSummary[] } {
  const tensors: TensorSummary[] = [...store.tensors.values(), ...store.foreign.values()]
    .map(({ name, dtype, shape, byteLength }) => ({ name, dtype, shape, bytes: byteLength }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const files = new Set([...store.tensors.values()].map(({ file }) => basename(file)))
  const metadata = Object.fromEntries(store.metadata)
  store.close()
  const dtypes = [...new Set(tensors.map(({ dtype }) => dtype))].sort().map((dtype) => {
    const same = tensors.filter((tensor) => tensor.dtype === dtype)
    return { dtype, tensors: same.length, bytes: total(same.map(({ bytes }) => bytes)) }
  })
  return {
    weights: {
      files: [...files].sort(),
      tensors: tensors.length,
      elements: total(tensors.map(({ shape }) => shape.reduce((n, dim) => n * dim, 1))),
      bytes: total(tensors.map(({ bytes }) => bytes)),
      dtypes,
      metadata,
    },
    tensors,
  }
}

function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0)
}
