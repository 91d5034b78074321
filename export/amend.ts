import { copyFileSync, linkSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { IntegrityError, UsageError } from '../src/errors.ts'
import { writeFileWhole } from '../src/formats/bytes.ts'
import { decodeModel } from '../src/formats/onnx/decode.ts'
import { encodeModel } from '../src/formats/onnx/encode.ts'
import type { Model, Node } from '../src/formats/onnx/types.ts'
import { replaceFolder, settleFolder, stageFolder } from '../src/formats/replace-folder.ts'
import { fileSha256 } from '../src/formats/sha256.ts'
import type { AmendedWeights } from './amend-weights.ts'
import { amendWeights } from './amend-weights.ts'
import { fileEntries } from './file-entry.ts'
import type { Manifest } from './manifest.ts'
import { encodeManifest, MANIFEST } from './manifest.ts'
import { metadataProps } from './metadata.ts'
import type { TensorSource } from './shards.ts'
import type { PlaceOf } from './weights.ts'

type Strings = Readonly<Record<string, string>>

/** What is added to a finished artifact; a key, tensor or file that is there already is replaced. */
export type Amendment = {
  /** Sections of spexpand.json by name; they stand before `files`. */
  readonly sections: Readonly<Record<string, unknown>>
  /** metadata_props of the ONNX model. @default none */
  readonly model?: Strings
  /** metadata_props of every node of the graph. @default none */
  readonly nodes?: (node: Node) => Strings
  /** `__metadata__` of every weight file. @default none */
  readonly weights?: Strings
  /** Tensors, stored in the last weight file. @default none */
  readonly tensors?: readonly TensorSource[]
  /** Changes the graph, after its metadata: `place` says where every tensor lies now. @default as it is */
  readonly graph?: (model: Model, place: PlaceOf) => Model
  /** Whole files by name. @default none */
  readonly files?: Readonly<Record<string, Uint8Array | string>>
}

/** Manifest with sections that amendments have added. */
export type AmendedManifest = Manifest & Readonly<Record<string, unknown>>

const GRAPH = 'model.onnx'

/**
 * Adds to a finished artifact, all or nothing: a new folder is made beside it, of files that stay as they are (hard links)
 * and files that change, and takes its name. A crash leaves the old artifact or the new one, never a mix. Bytes of the
 * tensors that are there do not change; their offsets do. Equal artifacts and amendments give equal bytes.
 * Throws IntegrityError when a file that changes is not what the manifest says, UsageError when the artifact is the
 * current folder, ResourceError when there is no space or no permission.
 */
export async function amendArtifact(folder: string, amendment: Amendment): Promise<AmendedManifest> {
  settleFolder(folder)
  const from = realpathSync(folder)
  assertOutside(from)
  const manifest = JSON.parse(readFileSync(join(from, MANIFEST), 'utf8')) as AmendedManifest
  const staged = stageFolder(from)
  try {
    const amended = await writeAmended(from, staged, manifest, amendment)
    replaceFolder(from, staged)
    return amended
  } catch (error) {
    rmSync(staged, { recursive: true, force: true })
    throw error
  }
}

async function writeAmended(
  from: string,
  to: string,
  manifest: AmendedManifest,
  amendment: Amendment,
): Promise<AmendedManifest> {
  const { sections, weights = {}, tensors = [], files = {} } = amendment
  const isChanging = Object.keys(weights).length + tensors.length > 0
  for (const entry of manifest.files)
    if (entry.name === GRAPH || (isChanging && /\.(safetensors|onnx)$/.test(entry.name)))
      await assertIntact(from, entry)
  const placed = isChanging ? await amendWeights(from, to, { metadata: weights, tensors }) : undefined
  writeFileWhole(join(to, GRAPH), encodeModel(amendedGraph(join(from, GRAPH), amendment, placed)))
  const others = placed ? manifest.files.filter(({ name }) => name.endsWith('.onnx') && name !== GRAPH) : []
  for (const { name } of others) writeFileWhole(join(to, name), encodeModel(movedGraph(join(from, name), placed!)))
  for (const [name, content] of Object.entries(files)) writeFileWhole(join(to, name), content)
  const changed = new Set([GRAPH, ...others.map(({ name }) => name), ...(placed?.files ?? []), ...Object.keys(files)])
  const skipped = new Set([...changed, MANIFEST])
  linkRest(from, to, (path) => skipped.has(path))
  const names = [...new Set([...manifest.files.map(({ name }) => name), ...changed])].sort()
  const kept = new Map(manifest.files.map((entry) => [entry.name, entry]))
  const { files: _, ...rest } = manifest
  for (const entry of await fileEntries(to, [...changed])) kept.set(entry.name, entry)
  const amended = { ...rest, ...sections, files: names.map((name) => kept.get(name)!) } as AmendedManifest
  writeFileWhole(join(to, MANIFEST), encodeManifest(amended))
  return amended
}

/** A second graph over the same weights (hire.onnx): those that moved are followed, files of its own stay. */
function movedGraph(path: string, placed: AmendedWeights): Model {
  const model = decodeModel(readFileSync(path), path)
  const initializer = model.graph.initializer.map((tensor) =>
    tensor.external && placed.files.includes(tensor.external.location)
      ? { ...tensor, external: placed.moved(tensor.external) }
      : tensor,
  )
  return { ...model, graph: { ...model.graph, initializer } }
}

/** The graph over the weights where they lie now, with its new metadata. */
function amendedGraph(path: string, amendment: Amendment, placed: AmendedWeights | undefined): Model {
  const model = decodeModel(readFileSync(path), path)
  const { graph, metadataProps: onModel } = model
  const { nodes } = amendment
  const amended: Model = {
    ...model,
    metadataProps: merged(onModel, amendment.model ?? {}),
    graph: {
      ...graph,
      node: nodes
        ? graph.node.map((node) => {
            const added = nodes(node)
            if (Object.keys(added).length === 0) return node
            return { ...node, metadataProps: merged(node.metadataProps ?? [], added) }
          })
        : graph.node,
      initializer: graph.initializer.map((tensor) =>
        tensor.external && placed ? { ...tensor, external: placed.moved(tensor.external) } : tensor,
      ),
    },
  }
  if (!amendment.graph) return amended
  if (!placed) throw new UsageError('Cannot amend: a changed graph needs changed weight files: give metadata of theirs')
  return amendment.graph(amended, placed.place)
}

function merged(old: Model['metadataProps'], added: Strings): Model['metadataProps'] {
  return metadataProps({ ...Object.fromEntries(old.map(({ key, value }) => [key, value])), ...added })
}

/** What changes gets a new checksum: damage must not become part of the artifact. */
async function assertIntact(folder: string, { name, sha256 }: Manifest['files'][number]): Promise<void> {
  const found = await fileSha256(join(folder, name))
  if (found !== sha256)
    throw new IntegrityError(
      `Cannot amend ${folder}: SHA-256 of ${name} is ${found}, ${MANIFEST} says ${sha256}: copy the artifact again`,
    )
}

/** A shell that stands in the folder would be left in a removed one. */
function assertOutside(folder: string): void {
  const inside = relative(folder, process.cwd())
  if (inside === '' || !inside.startsWith('..'))
    throw new UsageError(`Cannot amend ${folder}: it is the current folder or holds it: run from outside`)
}

/** Every other file and folder, the user's own too, as hard links; copies where the file system has none. */
function linkRest(from: string, to: string, isSkipped: (path: string) => boolean): void {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (isSkipped(entry.name) || entry.name.endsWith('.partial')) continue
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) {
      mkdirSync(target)
      linkRest(source, target, () => false)
      continue
    }
    try {
      linkSync(source, target)
    } catch {
      copyFileSync(source, target)
    }
  }
}
