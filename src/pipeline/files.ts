import { availableParallelism } from 'node:os'
import type { RawTensor } from '../tensor/dtype.ts'
import { FormatError } from '../errors.ts'
import { openSafetensors } from '../formats/safetensors/reader.ts'
import { writeSafetensors } from '../formats/safetensors/writer.ts'
import { openModel } from '../model/open.ts'
import { forward } from './forward.ts'

export type ForwardFileOptions = {
  readonly model: string
  /** safetensors with `input_ids` I64 (batch, sequence). */
  readonly input: string
  /** safetensors to write: `logits`, `layers.{i}.ffn_in`, `layers.{i}.down_in`. */
  readonly out: string
  readonly threads?: number
}

/** Runs the dense model on the token ids of a file and writes what a reference implementation can be compared with. */
export async function forwardFile(
  options: ForwardFileOptions,
): Promise<{ out: string; batch: number; sequence: number; layers: number }> {
  const model = openModel(options.model)
  const ids = readIds(options.input)
  const tensors = new Map<string, RawTensor>()
  const [batch, sequence] = ids.shape
  try {
    const { hidden, ff, layers } = model.config
    const { logits } = await forward(
      model,
      { data: ids.data, B: batch, T: sequence },
      {
        threads: options.threads ?? availableParallelism(),
        onLayer(layer, ffnIn, downIn) {
          tensors.set(`layers.${layer}.ffn_in`, f32([batch, sequence, hidden], ffnIn))
          tensors.set(`layers.${layer}.down_in`, f32([batch, sequence, ff], downIn))
        },
      },
    )
    tensors.set('logits', f32([batch, sequence, model.config.vocab], logits))
    writeSafetensors(options.out, tensors)
    return { out: options.out, batch, sequence, layers }
  } finally {
    model.close()
  }
}

function readIds(path: string): { data: BigInt64Array; shape: [number, number] } {
  const file = openSafetensors(path)
  try {
    const info = file.get('input_ids')
    const [batch, sequence] = info.shape
    if (info.dtype !== 'I64' || info.shape.length !== 2 || !batch || !sequence)
      throw new FormatError(
        `Wrong input_ids in ${path}: got ${info.dtype} (${info.shape.join(', ')}), wanted I64 (batch, sequence)`,
      )
    return { data: new BigInt64Array(file.readBytes('input_ids').buffer as ArrayBuffer), shape: [batch, sequence] }
  } finally {
    file.close()
  }
}

/** A tensor for a file, without a copy. */
export function f32(shape: number[], data: Float32Array): RawTensor {
  return { dtype: 'F32', shape, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
}
