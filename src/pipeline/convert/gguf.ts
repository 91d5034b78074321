import { existsSync } from 'node:fs'
import { UnsupportedError, UsageError } from '../../errors.ts'
import { breathe } from '../../formats/breathe.ts'
import type { GgufWriter } from '../../formats/gguf/writer.ts'
import { createGgufWriter } from '../../formats/gguf/writer.ts'
import { ggufObstacles, hparamsOf } from './gguf-hparams.ts'
import type { GgufTensorSource, GgufType } from './gguf-tensors.ts'
import { expertKind, ggufTensors } from './gguf-tensors.ts'
import { vocabularyOf } from './gguf-vocabulary.ts'
import { openMoeSource } from './moe-source.ts'

export type GgufOptions = {
  /** Folder of an artifact with a shared router without bias, or with one expert. */
  readonly artifact: string
  /** File to write; must not exist. */
  readonly out: string
  /** Element type of all matrices. @default 'f16' */
  readonly weights?: GgufType
}

export type GgufResult = {
  readonly out: string
  readonly bytes: number
  readonly experts: number
  /** Share of zeros among the FF weights. */
  readonly sparsity: number
  /** Kind that FF weights were written as. */
  readonly weights: string
  /** What of the tokenizer the format has no word for. */
  readonly notes: readonly string[]
}

/**
 * Writes an artifact as one GGUF file of the llama architecture that llama.cpp loads: a mixture with one expert per token,
 * whose weight llama.cpp divides by itself, or a plain model where there is one expert. Zeros are stored like other numbers.
 * Throws UsageError for routers with a bias and for an `out` that exists, UnsupportedError naming what the format or
 * llama.cpp cannot express.
 */
export async function exportGguf({ artifact: folder, out, weights: type = 'f16' }: GgufOptions): Promise<GgufResult> {
  const source = openMoeSource(folder, { name: 'gguf', obstacles: ggufObstacles })
  try {
    if (existsSync(out)) throw new UsageError(`Cannot export to ${out}: it exists: remove it or choose another --out`)
    const kind = expertKind(source, type)
    const { metadata, notes } = vocabularyOf(folder, source.config)
    const tensors = ggufTensors(source, type)
    assertBlocks(tensors)
    const writer = createGgufWriter(out, new Map([...hparamsOf(source, kind), ...metadata]), tensors)
    const bytes = await writeTensors(writer, tensors)
    return {
      out,
      bytes,
      experts: source.experts,
      sparsity: source.manifest.mixture.sparsity,
      weights: kind,
      notes,
    }
  } finally {
    source.store.close()
  }
}

function assertBlocks(tensors: readonly GgufTensorSource[]): void {
  const odd = tensors.find(({ kind, shape }) => kind === 'Q8_0' && shape.at(-1)! % 32 !== 0)
  if (odd)
    throw new UnsupportedError(
      `Cannot export as q8_0: rows of "${odd.name}" have ${odd.shape.at(-1)} numbers, its blocks have 32: use --weights f16`,
    )
}

async function writeTensors(writer: GgufWriter, tensors: readonly GgufTensorSource[]): Promise<number> {
  try {
    for (const { name, pieces } of tensors)
      for (const piece of pieces()) {
        writer.write(name, piece)
        await breathe()
      }
    return writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
}
