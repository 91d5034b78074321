import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FormatError, IntegrityError } from '../errors.ts'
import { closeFile, openForReading, readRange } from '../formats/bytes.ts'
import { decodeModel } from '../formats/onnx/decode.ts'
import { externalLocations } from '../formats/onnx/locations.ts'
import type { Model } from '../formats/onnx/types.ts'
import { fileInFolder } from '../formats/paths.ts'
import { settleFolder } from '../formats/replace-folder.ts'
import { fileSha256 } from '../formats/sha256.ts'
import { describeDamage } from './damage.ts'
import type { ArtifactManifest } from './manifest.ts'
import { readManifest } from './manifest.ts'

const MANIFEST = 'spexpand.json'
const GRAPH = 'model.onnx'
/** A graph without its weights has some MB; protobuf itself ends at 2 GiB. */
const MAX_GRAPH_BYTES = 2 ** 31 - 1

/** An artifact folder whose manifest is sound and whose files are there, with the sizes it says. */
export type Artifact = { readonly folder: string; readonly manifest: ArtifactManifest }

/** Whether a folder says that it is an artifact; it may still be a broken one. Finishes an interrupted amendment. */
export function isArtifact(folder: string): boolean {
  settleFolder(folder)
  return existsSync(join(folder, MANIFEST))
}

/**
 * Opens an artifact and checks that it is whole as far as names and sizes tell; checkIntegrity() reads every byte.
 * Throws FormatError when the folder is no artifact, IntegrityError when a file is missing or has another size.
 */
export function openArtifact(folder: string): Artifact {
  settleFolder(folder)
  if (!existsSync(folder)) throw new FormatError(`Cannot open artifact ${folder}: no such folder`)
  if (!isArtifact(folder))
    throw new FormatError(
      `Cannot open artifact ${folder}: it has no ${MANIFEST}: it is no artifact, or writing it was interrupted ` +
        '(run the same compress again to finish it)',
    )
  const manifest = readManifest(join(folder, MANIFEST))
  for (const { name, bytes } of manifest.files) {
    const path = fileInFolder(folder, name)
    const found = path === undefined ? undefined : statSync(path).size
    if (found !== bytes)
      throw new IntegrityError(
        `Cannot use artifact ${folder}: ${name} ${found === undefined ? 'is missing' : `has ${found} bytes`}, ` +
          `${MANIFEST} says ${bytes} bytes: copy the artifact again`,
      )
  }
  if (!manifest.files.some(({ name }) => name === GRAPH))
    throw new FormatError(`Cannot open artifact ${folder}: ${MANIFEST} lists no ${GRAPH}`)
  return { folder, manifest }
}

/**
 * Compares the SHA-256 of every file with the manifest. Throws IntegrityError naming the first file that differs, and of
 * a weight file the tensors. `onProgress` hears bytes done and in all.
 */
export async function checkIntegrity(
  { folder, manifest }: Artifact,
  onProgress?: (doneBytes: number, totalBytes: number) => void,
): Promise<void> {
  const total = manifest.files.reduce((sum, { bytes }) => sum + bytes, 0)
  let done = 0
  for (const entry of manifest.files) {
    const { name, bytes, sha256 } = entry
    const found = await fileSha256(join(folder, name))
    if (found !== sha256)
      throw new IntegrityError(
        `Artifact ${folder} is damaged: SHA-256 of ${name} is ${found}, ${MANIFEST} says ${sha256} ` +
          `(${await describeDamage(join(folder, name), entry)}): copy it again`,
      )
    done += bytes
    onProgress?.(done, total)
  }
}

/** model.onnx of an artifact, or of any folder that has one. Throws as readGraphFile() does. */
export function readGraph(folder: string): Model {
  return readGraphFile(join(folder, GRAPH))
}

/** An .onnx file. Throws FormatError when it is none, or when its external data lie behind a link out of its folder. */
export function readGraphFile(path: string): Model {
  const file = openForReading(path)
  try {
    if (file.byteLength > MAX_GRAPH_BYTES)
      throw new FormatError(`Cannot read ${path}: it has ${file.byteLength} bytes, an ONNX file at most 2 GiB`)
    const model = decodeModel(readRange(file, 0, file.byteLength), path)
    // The runtime maps these files itself, wherever links lead.
    for (const location of externalLocations(model)) fileInFolder(dirname(path), location)
    return model
  } finally {
    closeFile(file)
  }
}
