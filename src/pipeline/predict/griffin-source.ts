import { UsageError } from '../../errors.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import type { ModelConfig } from '../../model/config.ts'
import { readConfig } from '../../model/config.ts'
import { modelName } from '../../model/name.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import type { Provider } from '../../runtime/session.ts'
import type { Artifact } from '../../verify/artifact.ts'
import { isArtifact, openArtifact } from '../../verify/artifact.ts'
import { ffLayers, isProduct } from '../../verify/ff-layers.ts'
import { sourceHash } from '../fingerprint.ts'
import type { DecoderSource } from '../open-decoder.ts'
import { denseDecoder, openDecoder } from '../open-decoder.ts'
import { openArtifactWalk } from './artifact-walk.ts'
import type { NeuronNorms } from './norms.ts'
import { denseNorms, expertNorms } from './norms.ts'
import type { Walk } from './walk.ts'
import { openWalk } from './walk.ts'

/** What GRIFFIN is measured on: a dense model, or an artifact on its own graph. */
export type GriffinSource = NeuronNorms & {
  readonly config: ModelConfig
  readonly folder: string
  readonly decoder: DecoderSource
  /** The dense model behind it. */
  readonly origin: { readonly name: string; readonly sha256: string }
  /** One of these two. */
  readonly dense?: OpenedModel
  readonly artifact?: Artifact
  walk(threads: number): Promise<Walk>
  close(): void
}

/** Opens a model folder or an artifact; `provider` runs the experts of an artifact. Throws as openDecoder() does. */
export async function openGriffinSource(folder: string, provider: Provider): Promise<GriffinSource> {
  return isArtifact(folder) ? artifactSource(folder, provider) : denseModelSource(folder)
}

async function denseModelSource(folder: string): Promise<GriffinSource> {
  const dense = openModel(folder)
  return {
    ...denseNorms(dense),
    config: dense.config,
    folder,
    decoder: denseDecoder(folder),
    origin: { name: modelName(folder), sha256: (await sourceHash(dense)).sha256 },
    dense,
    walk: (threads) => openWalk(dense, threads),
    close: () => dense.close(),
  }
}

function artifactSource(folder: string, provider: Provider): GriffinSource {
  const artifact = openArtifact(folder)
  const config = readConfig(folder)
  const decoder = openDecoder(folder)
  if (!decoder.graph.graph.node.some((node) => isProduct(node)))
    throw new UsageError(
      `--griffin: ${folder} is a dense model with HiRE, and both choose neurons: give the model that it was made from`,
    )
  const { name, sha256 } = artifact.manifest.source
  const store = openWeights(folder)
  return {
    ...expertNorms(config, store, ffLayers(decoder.graph, folder)),
    config,
    folder,
    decoder,
    origin: { name, sha256 },
    artifact,
    walk: (threads) => openArtifactWalk(decoder.graph, { folder, threads, provider }),
    close: () => store.close(),
  }
}
