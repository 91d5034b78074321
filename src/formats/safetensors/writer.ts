import { ShapeError } from '../../errors.ts'
import type { RawTensor } from '../../tensor/dtype.ts'
import { createPartialFile } from '../bytes.ts'
import { planSafetensors } from './plan.ts'
import type { PlannedTensor, TensorEntry } from './plan.ts'

/** A safetensors file being written, tensor by tensor or in pieces of tensors; nothing is kept in memory. */
export type SafetensorsWriter = {
  /**
   * Appends a piece to the tensor `name`: the pieces of one tensor in order, the tensors in any order. Throws
   * ShapeError when it would pass the tensor's end, ResourceError when there is no space left.
   */
  write(name: string, chunk: Uint8Array): void
  /** Byte offset of a tensor in the file, for external data of ONNX. */
  offsetOf(name: string): number
  /** Makes the file durable and gives it its name. Throws ShapeError when a tensor lacks bytes. */
  finish(): void
  /** Removes what was written; does nothing after finish(). */
  abort(): void
}

/**
 * Starts `${path}.partial`, laid out as planSafetensors says; finish() renames it to `path`, so that a file of that name
 * is always whole.
 */
export function createSafetensorsWriter(
  path: string,
  entries: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>> = {},
): SafetensorsWriter {
  const plan = planSafetensors(entries, metadata)
  const file = createPartialFile(path)
  const written = new Map<string, number>()
  const find = (name: string): PlannedTensor => {
    const tensor = plan.tensors.get(name)
    if (!tensor) throw new RangeError(`Cannot write tensor "${name}" to ${path}: it was not announced`)
    return tensor
  }
  try {
    file.write(plan.head, 0)
  } catch (error) {
    file.abort()
    throw error
  }
  return {
    write(name, chunk) {
      const tensor = find(name)
      const done = written.get(name) ?? 0
      if (done + chunk.byteLength > tensor.byteLength)
        throw new ShapeError(
          `Cannot write tensor "${name}" to ${path}: got ${done + chunk.byteLength} bytes, ` +
            `${tensor.dtype} [${tensor.shape.join(', ')}] takes ${tensor.byteLength}`,
        )
      file.write(chunk, tensor.offset + done)
      written.set(name, done + chunk.byteLength)
    },
    offsetOf: (name) => find(name).offset,
    finish() {
      for (const { name, byteLength } of plan.tensors.values())
        if ((written.get(name) ?? 0) !== byteLength)
          throw new ShapeError(
            `Cannot finish ${path}: tensor "${name}" got ${written.get(name) ?? 0} of ${byteLength} bytes`,
          )
      file.finish()
    },
    abort: () => file.abort(),
  }
}

/**
 * Writes tensors held in memory as one safetensors file. Throws ShapeError when bytes and shape of a tensor differ,
 * ResourceError when there is no space left; then no file of that name is left behind.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, RawTensor> | Readonly<Record<string, RawTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const list = tensors instanceof Map ? [...tensors] : Object.entries(tensors as Readonly<Record<string, RawTensor>>)
  const entries = list.map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
  const writer = createSafetensorsWriter(path, entries, metadata)
  try {
    for (const [name, { bytes }] of list) writer.write(name, bytes)
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
}
