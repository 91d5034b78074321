import fs from 'node:fs'
import path from 'node:path'
import { readJsonLines } from '../../calibration/jsonl.ts'
import { readPlainText } from '../../calibration/plain-text.ts'
import { decodeModel } from '../../src/formats/onnx/decode.ts'
import { encodeModel } from '../../src/formats/onnx/encode.ts'
import { planSafetensors } from '../../src/formats/safetensors/plan.ts'
import { openSafetensors } from '../../src/formats/safetensors/reader.ts'
import type { TensorStore } from '../../src/formats/safetensors/reader.ts'
import { openWeights } from '../../src/formats/safetensors/weights.ts'
import { everything } from '../formats/onnx/models.ts'
import type { Seed, Target } from './target.ts'
import { jsonSeed } from './target.ts'

/** Readers of single files, which know nothing of models; their files lie in `scratch`. */
export function fileTargets(scratch: string): Target[] {
  return [safetensors(scratch), shardIndex(scratch), onnx(), jsonLines(), plainText()]
}

function file(scratch: string, name: string): (bytes: Uint8Array) => string {
  const target = path.join(scratch, name)
  return (bytes) => {
    fs.writeFileSync(target, bytes)
    return target
  }
}

function safetensors(scratch: string): Target {
  const put = file(scratch, 'fuzzed.safetensors')
  return {
    name: 'safetensors',
    seeds: [
      weights([
        { name: 'model.norm.weight', dtype: 'F32', shape: [2, 3] },
        { name: 'b', dtype: 'F16', shape: [5] },
        { name: 'c', dtype: 'I64', shape: [] },
        { name: 'd', dtype: 'BF16', shape: [0, 4] },
      ]),
      weights([{ name: '__proto__', dtype: 'U8', shape: [3] }]),
    ],
    words: ['"dtype":"F8_E4M3"', '"shape":[1152921504606846976]', '__metadata__', '"data_offsets":[0,1]', '\u0000'],
    read(bytes) {
      const opened = openSafetensors(put(bytes))
      try {
        readAll(opened)
      } finally {
        opened.close()
      }
    },
  }
}

type Entry = Parameters<typeof planSafetensors>[0][number]

function weights(entries: readonly Entry[]): Seed {
  const { head, byteLength } = planSafetensors(entries, { format: 'pt' })
  const data = Buffer.alloc(byteLength - head.length, 0x3c)
  return {
    bytes: Buffer.concat([head, data]),
    json: { text: Buffer.from(head.subarray(8)).toString(), rebuild: (text) => framed(text, data) },
  }
}

/** A header with the length that it has. */
export function framed(text: string, data: Uint8Array): Buffer {
  const header = Buffer.from(text)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header, data])
}

function readAll(store: TensorStore): void {
  for (const { name, dtype } of store.tensors.values()) {
    store.readBytes(name)
    if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') store.readF32(name)
  }
}

function shardIndex(scratch: string): Target {
  const folder = path.join(scratch, 'sharded')
  fs.mkdirSync(path.join(folder, 'more'), { recursive: true })
  fs.mkdirSync(path.join(scratch, 'outside'), { recursive: true })
  const shard = weights([{ name: 'a', dtype: 'F32', shape: [2] }]).bytes
  fs.writeFileSync(path.join(folder, 'model-00001-of-00002.safetensors'), shard)
  fs.writeFileSync(path.join(folder, 'more', 'b.safetensors'), weights([{ name: 'b', dtype: 'F32', shape: [2] }]).bytes)
  // What no name may lead to, by whatever way.
  fs.writeFileSync(path.join(scratch, '..', `${path.basename(scratch)}-outside.safetensors`), shard)
  const index = {
    metadata: { total_size: 16 },
    weight_map: { a: 'model-00001-of-00002.safetensors', b: 'more/b.safetensors' },
  }
  const put = file(folder, 'model.safetensors.index.json')
  return {
    name: 'shard index',
    seeds: [jsonSeed(index)],
    words: ['../', '/', `../../${path.basename(scratch)}-outside.safetensors`, '..\\', '"a":', '/dev/zero', '\\u002e.'],
    read(bytes) {
      put(bytes)
      const store = openWeights(folder)
      try {
        readAll(store)
      } finally {
        store.close()
      }
    },
  }
}

function onnx(): Target {
  return {
    name: 'ONNX',
    seeds: [
      { bytes: encodeModel(everything(128)), isMessage: true },
      { bytes: encodeModel({ ...everything(0), producerName: 'other' }), isMessage: true },
    ],
    words: ['../weights.safetensors', '/dev/zero', '\u0008\u00ff\u00ff\u00ff\u00ff\u000f', 'location'],
    read: (bytes) => encodeModel(decodeModel(bytes)),
  }
}

const LINES = [
  { text: 'The quick brown fox', domain: 'animals' },
  { messages: [{ role: 'user', content: 'hi' }], tools: [], documents: null },
  { text: 'naïve – ünïcode 😀', extra: { deep: [1, 2, { x: null }] } },
]

function jsonLines(): Target {
  const rest = LINES.map((line) => JSON.stringify(line)).join('\n')
  const seeds = LINES.map((line) => ({
    bytes: Buffer.from(`${JSON.stringify(line)}\n${rest}\n`),
    json: {
      text: JSON.stringify(line),
      rebuild: (text: string): Buffer => Buffer.from(`${text}\n${rest}\n`),
    },
  }))
  return {
    name: 'JSON lines',
    seeds,
    words: ['\n', '\r\n', '\u2028', '{"text":1}', '"__proto__":', '\ufeff', '\u0000'],
    async read(bytes) {
      for await (const { text, domain } of readJsonLines(chunks(bytes), 'lines.jsonl', 'lines', firstRole))
        if (typeof text !== 'string' || typeof domain !== 'string') throw new TypeError('no document')
    },
  }
}

function firstRole({ messages }: { readonly messages: readonly { readonly role: string }[] }): string {
  return messages[0]!.role
}

function plainText(): Target {
  return {
    name: 'plain text',
    seeds: [{ bytes: Buffer.from('one line\nand – another 😀 one\n'.repeat(20)) }, { bytes: Buffer.from('x') }],
    words: ['\n', ' ', '\u00ff', '😀'],
    async read(bytes) {
      let size = 0
      for await (const { text } of readPlainText(chunks(bytes), 'a.txt', 'a', 64)) size += Buffer.byteLength(text)
      // A byte order mark may be dropped at the head of a piece.
      if (size > bytes.length) throw new RangeError(`got ${size} bytes of ${bytes.length}`)
    },
  }
}

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 97) yield bytes.subarray(at, at + 97)
}
