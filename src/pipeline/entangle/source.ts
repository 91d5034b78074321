import { demoModelFolder } from '../../../calibration/bundled.ts'
import type { Router } from '../../cluster/router.ts'
import { FormatError, IntegrityError, UsageError } from '../../errors.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { openWeights } from '../../formats/safetensors/weights.ts'
import type { PackedExpert } from '../../mixture/expert.ts'
import { expertAt } from '../../mixture/stack.ts'
import type { ValueForm } from '../../mixture/values.ts'
import { modelName } from '../../model/name.ts'
import type { OpenedModel } from '../../model/open.ts'
import { openModel } from '../../model/open.ts'
import { matOf } from '../../tensor/mat.ts'
import type { Artifact } from '../../verify/artifact.ts'
import { isArtifact, openArtifact } from '../../verify/artifact.ts'
import { sourceHash } from '../fingerprint.ts'
import type { MatrixName, PackedFfn } from '../jobs.ts'
import { matricesOf, packedFront, ROLES } from '../jobs.ts'
import { readStack } from '../state.ts'

/** One block of an artifact: its experts, and what routes to them. */
export type ArtifactBlock = {
  readonly ffns: readonly PackedFfn[]
  readonly router: Router | undefined
  /** Only with the split router: what routes to the down projections, on the intermediates of pruned gate and up. */
  readonly downRouter?: Router
}

/** Reads blocks of an artifact, one at a time. */
export type BlockReader = { readonly block: (layer: number) => ArtifactBlock; readonly close: () => void }

/**
 * The dense model of an artifact: the one given, or the embedded demo model. Throws IntegrityError when it is another
 * model than the artifact was made from.
 */
export async function openDenseOf({ folder, manifest }: Artifact, given: string | undefined): Promise<OpenedModel> {
  const { name, sha256 } = manifest.source
  const dense = given ?? demoModelFolder()
  const model = openModel(dense)
  const found = (await sourceHash(model)).sha256
  if (found === sha256) return model
  model.close()
  if (given === undefined)
    throw new UsageError(`Cannot measure ${folder} without its dense model: give the folder of ${name} with --dense`)
  throw new IntegrityError(
    `Cannot measure ${folder} with ${dense}: it was made from ${name} (${sha256}), this is ${modelName(dense)} (${found}): give its source with --dense`,
  )
}

/** Opens the weights of an artifact. */
export function openBlocks({ folder, manifest }: Artifact, model: OpenedModel): BlockReader {
  const form = formOf(manifest)
  const store = openWeights(folder)
  return { block: (layer) => readBlock(store, model, layer, form), close: () => store.close() }
}

/** An artifact of one expert of the same dense model. Throws UsageError and IntegrityError. */
export function openBaseline(path: string, of: Artifact, model: OpenedModel): BlockReader {
  if (!isArtifact(path))
    throw new UsageError(`Cannot compare with ${path}: it has no spexpand.json: --baseline wants an artifact`)
  const artifact = openArtifact(path)
  const { mixture, source } = artifact.manifest
  if (mixture.experts !== 1)
    throw new UsageError(
      `Cannot compare with ${path}: it has ${mixture.experts} experts, a baseline has 1: compress with --experts 1`,
    )
  if (source.sha256 !== of.manifest.source.sha256)
    throw new IntegrityError(
      `Cannot compare ${of.folder} with ${path}: they were made from ${of.manifest.source.name} and ${source.name}, which are different models`,
    )
  return openBlocks(artifact, model)
}

/** How an artifact stores its kept weights. */
export function formOf({ mixture }: Artifact['manifest']): ValueForm {
  const { values, groupSize } = mixture
  return values === 'int8' || values === 'int4' ? { type: values, groupSize: groupSize ?? 0 } : { type: values }
}

function readBlock(store: TensorStore, model: OpenedModel, layer: number, form: ValueForm): ArtifactBlock {
  const experts = Object.fromEntries(
    matricesOf(model.config).map((matrix) => {
      const base = `${baseOf(model, matrix, layer)}.experts`
      const count = store.get(`${base}.mask`).shape[0]!
      const stack = readStack(store, base, form)
      return [matrix, Array.from({ length: count }, (_, e) => expertAt(stack, e, count))]
    }),
  ) as Record<MatrixName, PackedExpert[]>
  const counts = Object.values(experts).map((list) => list.length)
  if (counts.some((count) => count !== counts[0]))
    throw new FormatError(
      `Cannot read layer ${layer}: it has ${counts.join(', ')} experts of ${Object.keys(experts).join(', ')}`,
    )
  const ffns = experts.down_proj.map((down, e) => {
    const own = Object.entries(experts).map(([matrix, list]) => [matrix, list[e]!] as const)
    return { ...packedFront(Object.fromEntries(own)), down }
  })
  if (ffns.length === 1) return { ffns, router: undefined }
  const down = `${baseOf(model, 'down_proj', layer)}.router`
  return {
    ffns,
    router: readRouter(store, baseOf(model, 'up_proj', layer).replace(/\.[^.]+$/, '.router')),
    ...(store.tensors.has(`${down}.weight`) ? { downRouter: readRouter(store, down) } : {}),
  }
}

function readRouter(store: TensorStore, base: string): Router {
  const [experts, inputs] = store.get(`${base}.weight`).shape
  return { weight: matOf(experts!, inputs!, store.readF32(`${base}.weight`)), bias: store.readF32(`${base}.bias`) }
}

function baseOf(model: OpenedModel, matrix: MatrixName, layer: number): string {
  return model.tensorName(ROLES[matrix], layer).replace(/\.weight$/, '')
}
