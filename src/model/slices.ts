import { FormatError } from '../errors.ts'
import type { TensorInfo, TensorStore } from '../formats/safetensors/reader.ts'
import { elementCount } from '../tensor/dtype.ts'
import type { ModelConfig } from './config.ts'
import type { Family, TensorRole } from './families.ts'

/** A matrix inside a larger one: rows are contiguous, so it is a tensor of its own at an offset. */
type Slice = { readonly info: TensorInfo; readonly from: string; readonly start: number }

/**
 * Weights with the fused matrices of a family replaced by their parts, named and shaped as if they were stored alone.
 * Throws FormatError when a fused matrix has not the rows of its parts.
 */
export function sliced(weights: TensorStore, family: Family, config: ModelConfig): TensorStore {
  if (family.slices.length === 0) return weights
  const slices = new Map<string, Slice>()
  const tensors = new Map(weights.tensors)
  for (let layer = 0; layer < config.layers; layer++)
    for (const { from, into } of family.slices) {
      const fused = weights.get(`${from.replace('{i}', String(layer))}.weight`)
      tensors.delete(fused.name)
      for (const slice of cut(fused, into, family, config, layer)) {
        slices.set(slice.info.name, slice)
        tensors.set(slice.info.name, slice.info)
      }
    }
  const readBytes: TensorStore['readBytes'] = (name, start = 0, end) => {
    const slice = slices.get(name)
    if (!slice) return weights.readBytes(name, start, end)
    const last = end ?? slice.info.byteLength
    if (start < 0 || last > slice.info.byteLength || start > last)
      throw new RangeError(`Cannot read bytes ${start} to ${last} of "${name}": it has ${slice.info.byteLength}`)
    return weights.readBytes(slice.from, slice.start + start, slice.start + last)
  }
  return {
    ...weights,
    tensors,
    get: (name) => slices.get(name)?.info ?? weights.get(name),
    readBytes,
    readF32(name) {
      const slice = slices.get(name)
      if (!slice) return weights.readF32(name)
      const first = (slice.start / slice.info.byteLength) * elementCount(slice.info.shape)
      return weights.readF32(slice.from).slice(first, first + elementCount(slice.info.shape))
    },
    close: () => weights.close(),
  }
}

/** The parts of one fused matrix (rows, in). */
function cut(
  fused: TensorInfo,
  into: readonly TensorRole[],
  { tensors }: Family,
  config: ModelConfig,
  layer: number,
): Slice[] {
  const [rows, inputs] = fused.shape
  const counts = into.map((role) => rowsOf(role, config))
  const wanted = counts.reduce((sum, count) => sum + count, 0)
  if (fused.shape.length !== 2 || rows !== wanted)
    throw new FormatError(
      `Cannot use tensor "${fused.name}" of ${fused.file}: its shape is [${fused.shape.join(', ')}], ` +
        `config.json asks for [${wanted}, ${config.hidden}]`,
    )
  let start = 0
  return into.map((role, i) => {
    const byteLength = (fused.byteLength / rows!) * counts[i]!
    const name = `${tensors[role]!.replace('{i}', String(layer))}.weight`
    const info = { ...fused, name, shape: [counts[i]!, inputs!], offset: fused.offset + start, byteLength }
    const slice = { info, from: fused.name, start }
    start += byteLength
    return slice
  })
}

function rowsOf(role: TensorRole, { heads, kvHeads, headDim, ff }: ModelConfig): number {
  if (role === 'query') return heads * headDim
  return role === 'key' || role === 'value' ? kvHeads * headDim : ff
}
