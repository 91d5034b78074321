import { join } from 'node:path'
import { denseDecoderModel } from '../../export/onnx.ts'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import { openModel } from '../model/open.ts'
import type { Provider } from '../runtime/session.ts'
import { isArtifact, openArtifact, readGraph } from '../verify/artifact.ts'
import { TOOL_VERSION } from '../version.ts'

/** A decoder graph ready to be loaded: an artifact's own file, or a dense model over its own weight files. */
export type DecoderSource = {
  readonly graph: Model
  /** Path of the .onnx file, or its bytes with external data in `folder`. */
  readonly source: string | Uint8Array
  readonly folder: string
  readonly kind: 'artifact' | 'dense'
}

/** Opens the graph of an artifact or of a dense model folder. Throws FormatError when it is neither. */
export function openDecoder(folder: string): DecoderSource {
  if (isArtifact(folder)) {
    openArtifact(folder)
    return { graph: readGraph(folder), source: join(folder, 'model.onnx'), folder, kind: 'artifact' }
  }
  return denseDecoder(folder)
}

/** The graph of a dense model folder, built here; its weights stay in their files. */
export function denseDecoder(folder: string): DecoderSource {
  const model = openModel(folder)
  try {
    const graph = denseDecoderModel(model, TOOL_VERSION)
    return { graph, source: encodeModel(graph), folder: model.dataFolder, kind: 'dense' }
  } finally {
    model.close()
  }
}

/** What computes, in words: 'onnxruntime cpu, portable functions', 'spexpand operators on onnxruntime cpu', … */
export function runtimeName(kind: DecoderSource['kind'], provider: Provider): string {
  if (kind === 'dense') return `onnxruntime ${provider === 'spexpand' ? 'cpu' : provider}, dense`
  if (provider === 'spexpand') return 'onnxruntime cpu, spexpand operators'
  return `onnxruntime ${provider}, portable functions`
}
