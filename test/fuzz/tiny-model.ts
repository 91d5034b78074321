import fs from 'node:fs'
import path from 'node:path'
import { createRng } from '../../src/linalg/rng.ts'
import { convertGguf } from '../../src/model/gguf-convert.ts'
import type { Meta, RawGguf } from '../fixtures/gguf.ts'
import { f32Tensor, ggufBytes } from '../fixtures/gguf.ts'

const [HIDDEN, FF] = [32, 40]
const PIECES = ['<unk>', '<s>', '</s>', '▁', ...'abcdefghijklmnopqrstuvwxyz', 'th', 'he', '▁t']

/** A llama of one layer in some kB, every kind of metadata in it, its embedding quantised to Q8_0. */
export function tinyGguf(): Uint8Array {
  const { normal } = createRng(1)
  const random = (...shape: number[]): RawGguf =>
    f32Tensor(
      shape,
      Array.from({ length: shape.reduce((n, dim) => n * dim, 1) }, () => normal() / 8),
    )
  // Blocks of Q8_0: a scale as f16, 32 numbers.
  const q8 = (rows: number, cols: number): RawGguf => {
    const blocks = Array.from({ length: (rows * cols) / 32 }, () => [
      0x00,
      0x2c,
      ...Array.from({ length: 32 }, () => (normal() * 40) & 255),
    ])
    return { shape: [rows, cols], kind: 8, bytes: Buffer.from(blocks.flat()) }
  }
  const metadata: Record<string, Meta> = {
    'general.architecture': { type: 'string', value: 'llama' },
    'llama.context_length': { type: 'u32', value: 64 },
    'llama.embedding_length': { type: 'u32', value: HIDDEN },
    'llama.block_count': { type: 'u32', value: 1 },
    'llama.feed_forward_length': { type: 'u32', value: FF },
    'llama.attention.head_count': { type: 'u32', value: 4 },
    'llama.attention.head_count_kv': { type: 'u32', value: 2 },
    'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    'llama.rope.freq_base': { type: 'f32', value: 10_000 },
    'tokenizer.ggml.model': { type: 'string', value: 'llama' },
    'tokenizer.ggml.tokens': { type: 'strings', value: PIECES },
    'tokenizer.ggml.scores': { type: 'f32s', value: PIECES.map((_, i) => -i) },
    'tokenizer.ggml.token_type': { type: 'i32s', value: PIECES.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : 1)) },
    'tokenizer.ggml.bos_token_id': { type: 'u32', value: 1 },
    'tokenizer.ggml.eos_token_id': { type: 'u32', value: 2 },
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: 1 },
    'tokenizer.chat_template': { type: 'string', value: '{{ messages[0].content }}' },
  }
  return ggufBytes(metadata, {
    'token_embd.weight': q8(PIECES.length, HIDDEN),
    'output_norm.weight': random(HIDDEN),
    'blk.0.attn_norm.weight': random(HIDDEN),
    'blk.0.attn_q.weight': random(HIDDEN, HIDDEN),
    'blk.0.attn_k.weight': random(HIDDEN / 2, HIDDEN),
    'blk.0.attn_v.weight': random(HIDDEN / 2, HIDDEN),
    'blk.0.attn_output.weight': random(HIDDEN, HIDDEN),
    'blk.0.ffn_norm.weight': random(HIDDEN),
    'blk.0.ffn_gate.weight': random(FF, HIDDEN),
    'blk.0.ffn_up.weight': random(FF, HIDDEN),
    'blk.0.ffn_down.weight': random(HIDDEN, FF),
  })
}

/** The same as a model folder. */
export async function tinyFolder(parent: string): Promise<string> {
  const file = path.join(parent, 'tiny.gguf')
  fs.writeFileSync(file, tinyGguf())
  const folder = path.join(parent, 'tiny')
  await convertGguf(file, folder)
  return folder
}
