import fs from 'node:fs'
import path from 'node:path'
import { FormatError, UnsupportedError } from '../errors.ts'
import { writeFileWhole } from '../formats/bytes.ts'
import { openGguf } from '../formats/gguf/reader.ts'
import { architectureOf } from './gguf-architectures.ts'
import { configOf } from './gguf-config.ts'
import { metadataOf } from './gguf-metadata.ts'
import { tokenizerOf } from './gguf-tokenizer.ts'
import type { TensorListener } from './gguf-weights.ts'
import { writeWeights } from './gguf-weights.ts'

/** Changes whenever the same file would be converted to other bytes: converted copies are kept under it. */
export const GGUF_CONVERSION = 2

/** Whether a path is meant as a GGUF file. */
export function isGgufPath(name: string): boolean {
  return name.toLowerCase().endsWith('.gguf')
}

/**
 * Writes a GGUF file as a model folder in Hugging Face layout: config.json, tokenizer.json, tokenizer_config.json,
 * chat_template.jinja where there is one, and model.safetensors with every weight exactly as the file's blocks define it.
 * Reads and writes in pieces of a few MB. Equal files give equal bytes. `onTensor` hears the tensors done, is awaited and may throw.
 * Throws FormatError and UnsupportedError naming file, key or tensor, got and wanted.
 */
export async function convertGguf(ggufPath: string, folder: string, onTensor?: TensorListener): Promise<void> {
  const file = openGguf(ggufPath)
  try {
    const meta = metadataOf(file)
    const parts = meta.whole('split.count', 1)
    if (parts > 1)
      throw new UnsupportedError(
        `Cannot use ${ggufPath}: it is one of ${parts} parts, supported are whole files: join them with llama-gguf-split --merge`,
      )
    const architecture = architectureOf(meta.architecture, ggufPath)
    if (!file.tensors.has('token_embd.weight'))
      throw new FormatError(`Cannot use ${ggufPath}: it has no tensor "token_embd.weight": it is no whole model`)
    const config = configOf(file, meta, architecture)
    const tokenizer = tokenizerOf(meta)
    fs.mkdirSync(folder, { recursive: true })
    const write = (name: string, value: object): void =>
      writeFileWhole(path.join(folder, name), `${fractions(JSON.stringify(value, null, 1))}\n`)
    write('tokenizer.json', tokenizer.tokenizer)
    write('tokenizer_config.json', tokenizer.config)
    const template = tokenizer.config['chat_template']
    if (typeof template === 'string') writeFileWhole(path.join(folder, 'chat_template.jinja'), template)
    const heads = meta.whole('.attention.head_count')
    const counts = { heads, kvHeads: meta.whole('.attention.head_count_kv', heads) }
    await writeWeights(file, architecture, counts, path.join(folder, 'model.safetensors'), onTensor)
    // Last, so that a folder without it is no model.
    write('config.json', config)
  } finally {
    file.close()
  }
}

/** Caps of Gemma are floats to transformers 5, which refuses 30 for 30.0; JSON.stringify() knows no difference. */
function fractions(json: string): string {
  return json.replaceAll(/^( "\w+_softcapping": \d+)(?=,?$)/gm, '$1.0')
}
