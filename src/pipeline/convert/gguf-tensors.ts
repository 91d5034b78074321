import type { WrittenKind } from '../../formats/gguf/encode.ts'
import type { GgufEntry } from '../../formats/gguf/writer.ts'
import type { TensorStore } from '../../formats/safetensors/reader.ts'
import { UnsupportedError } from '../../errors.ts'
import type { TensorRole } from '../../model/families.ts'
import { fromBf16, fromF16 } from '../../tensor/half.ts'
import { decodeExpert } from '../../verify/decode.ts'
import { writtenType } from './ff-weights.ts'
import { ropeDivisors } from './gguf-hparams.ts'
import type { MoeSource } from './moe-source.ts'
import { headName, routerName } from './moe-source.ts'
import { rounded } from './rounded.ts'

/** Element types of the weights of a GGUF file; 'exact': every tensor in the smallest type that rounds nothing. */
export const GGUF_TYPES = ['exact', 'f16', 'bf16', 'f32', 'q8_0'] as const
export type GgufType = (typeof GGUF_TYPES)[number]

/** A tensor of the file, and its bytes in pieces. */
export type GgufTensorSource = GgufEntry & { readonly pieces: () => Iterable<Uint8Array> }

const KINDS = { f16: 'F16', bf16: 'BF16', f32: 'F32', q8_0: 'Q8_0' } as const
const STORED = ['F32', 'F16', 'BF16']
/** Numbers of a matrix that are rounded at a time. */
const PIECE_NUMBERS = 1 << 22

/** The kind that FF weights are written as. */
export function expertKind({ store, nameOf }: MoeSource, type: GgufType): WrittenKind {
  return type === 'exact' ? writtenType(store, `${nameOf('gate', 0)}.experts`, 'exact') : KINDS[type]
}

/**
 * The tensors of a llama file (llama.cpp, llama-model.cpp) in order. Norms and routers are float32, which llama.cpp wants.
 * Reading the pieces throws UnsupportedError for a weight that the kind cannot hold.
 */
export function ggufTensors(source: MoeSource, type: GgufType): GgufTensorSource[] {
  const { config, store, nameOf } = source
  const dense = (name: string, role: TensorRole, layer?: number, heads?: number): GgufTensorSource =>
    copied(store, `${name}.weight`, `${nameOf(role, layer)}.weight`, type, heads)
  const divisors = ropeDivisors(config)
  const head = headName(source)
  return [
    dense('token_embd', 'embedding'),
    ...(divisors ? [vector('rope_freqs.weight', divisors)] : []),
    ...Array.from({ length: config.layers }, (_, i) => [
      dense(`blk.${i}.attn_norm`, 'attentionNorm', i),
      dense(`blk.${i}.attn_q`, 'query', i, config.heads),
      dense(`blk.${i}.attn_k`, 'key', i, config.kvHeads),
      dense(`blk.${i}.attn_v`, 'value', i),
      dense(`blk.${i}.attn_output`, 'attentionOut', i),
      dense(`blk.${i}.ffn_norm`, 'ffnNorm', i),
      ...ffTensors(source, i, expertKind(source, type)),
    ]).flat(),
    dense('output_norm', 'finalNorm'),
    // Without it llama.cpp takes the embedding.
    ...(head === `${nameOf('embedding')}.weight` ? [] : [copied(store, 'output.weight', head, type)]),
  ]
}

/** Router and stacks of experts, or with one expert the plain matrices. */
function ffTensors(source: MoeSource, layer: number, kind: WrittenKind): GgufTensorSource[] {
  const { store, nameOf, experts, config } = source
  const suffix = experts > 1 ? '_exps' : ''
  const matrices = (['gate', 'up', 'down'] as const).map((role): GgufTensorSource => {
    const base = `${nameOf(role, layer)}.experts`
    const name = `blk.${layer}.ffn_${role}${suffix}.weight`
    const [outputs, inputs] = role === 'down' ? [config.hidden, config.ff] : [config.ff, config.hidden]
    return {
      name,
      kind,
      shape: [...(experts > 1 ? [experts] : []), outputs, inputs],
      *pieces() {
        for (let e = 0; e < experts; e++) yield rounded(decodeExpert(store, base, e, inputs), kind, name)
      },
    }
  })
  if (experts === 1) return matrices
  const router = `${routerName(nameOf, layer)}.weight`
  return [copied(store, `blk.${layer}.ffn_gate_inp.weight`, router, 'f32'), ...matrices]
}

/**
 * A tensor of the artifact in the type asked for, vectors in float32. With `heads` the rows of every head are put in pairs:
 * llama.cpp rotates neighbours (2i, 2i + 1) where transformers rotates (i, i + d/2).
 */
function copied(store: TensorStore, name: string, from: string, type: GgufType, heads?: number): GgufTensorSource {
  const { shape, dtype } = store.get(from)
  if (!STORED.includes(dtype))
    throw new UnsupportedError(`Cannot export "${from}": its type is ${dtype}, supported are ${STORED.join(', ')}`)
  const kind = shape.length < 2 ? 'F32' : type === 'exact' ? (dtype as WrittenKind) : KINDS[type]
  const cols = shape.at(-1)!
  const rows = shape.slice(0, -1).reduce((n, dim) => n * dim, 1)
  const unit = heads === undefined ? 1 : rows / heads
  const rowBytes = cols * (dtype === 'F32' ? 4 : 2)
  const step = unit * Math.max(1, Math.floor(PIECE_NUMBERS / cols / unit))
  return {
    name,
    kind,
    shape,
    *pieces() {
      for (let start = 0; start < rows; start += step) {
        const end = Math.min(rows, start + step)
        const bytes = store.readBytes(from, start * rowBytes, end * rowBytes)
        const ordered = heads === undefined ? bytes : paired(bytes, rowBytes, unit)
        yield kind === dtype ? ordered : rounded(widened(ordered, dtype), kind, name)
      }
    },
  }
}

/** (head, 2, d/2) → (head, d/2, 2), whole rows. */
function paired(bytes: Uint8Array, rowBytes: number, d: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.byteLength)
  const half = d / 2
  for (let row = 0, at = 0; at < bytes.byteLength; row++, at += rowBytes) {
    const i = row % d
    const to = row - i + (i % half) * 2 + Math.floor(i / half)
    out.set(bytes.subarray(at, at + rowBytes), to * rowBytes)
  }
  return out
}

function widened({ buffer }: Uint8Array<ArrayBuffer>, dtype: string): Float32Array {
  if (dtype === 'F32') return new Float32Array(buffer)
  const halves = new Uint16Array(buffer)
  return dtype === 'F16' ? fromF16(halves) : fromBf16(halves)
}

function vector(name: string, numbers: Float32Array): GgufTensorSource {
  return { name, kind: 'F32', shape: [numbers.length], pieces: () => [rounded(numbers, 'F32', name)] }
}
