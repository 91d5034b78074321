import fs from 'node:fs'
import path from 'node:path'
import { openGguf } from '../../src/formats/gguf/reader.ts'
import { readFamilyConfig } from '../../src/model/config.ts'
import { convertGguf } from '../../src/model/gguf-convert.ts'
import { openModel } from '../../src/model/open.ts'
import { openTokenizer } from '../../src/model/tokenizer.ts'
import { openChatTemplate } from '../../src/pipeline/chat.ts'
import type { Seed, Target } from './target.ts'
import { jsonSeed } from './target.ts'
import { tinyGguf } from './tiny-model.ts'

const GOLDEN = path.join(import.meta.dirname, '../golden')

/** Readers of what a model folder holds; `tiny` is a sound one. */
export function modelTargets(scratch: string, tiny: string): Target[] {
  return [gguf(scratch), config(scratch), modelFolder(scratch, tiny), ...tokenizers(scratch), chatTemplate(scratch)]
}

function gguf(scratch: string): Target {
  const file = path.join(scratch, 'fuzzed.gguf')
  const out = path.join(scratch, 'from-gguf')
  return {
    name: 'GGUF',
    seeds: [{ bytes: tinyGguf() }],
    words: ['general.architecture', 'general.alignment', 'blk.0.', 'gemma2', 'gpt2', 'token_embd.weight', '../x'],
    async read(bytes) {
      fs.writeFileSync(file, bytes)
      const opened = openGguf(file)
      try {
        for (const name of opened.tensors.keys()) opened.readRowsF32(name)
      } finally {
        opened.close()
      }
      fs.rmSync(out, { recursive: true, force: true })
      await convertGguf(file, out)
      openModel(out).close()
      openTokenizer(out).encode('the cat')
    },
  }
}

function configs(): Seed[] {
  const folders = fs.readdirSync(path.join(GOLDEN, 'models'), { withFileTypes: true })
  return folders
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => jsonSeed(fs.readFileSync(path.join(GOLDEN, 'models', name, 'config.json'), 'utf8')))
}

const CONFIG_WORDS = ['"rope_scaling":', '"quantization_config":', '"layer_types":', 'gemma2', '__proto__', '1e999']

function config(scratch: string): Target {
  const folder = path.join(scratch, 'config')
  fs.mkdirSync(folder)
  return {
    name: 'config.json',
    seeds: configs(),
    words: CONFIG_WORDS,
    read(bytes) {
      fs.writeFileSync(path.join(folder, 'config.json'), bytes)
      return readFamilyConfig(folder)
    },
  }
}

/** config.json against weights that do not change. */
function modelFolder(scratch: string, tiny: string): Target {
  const folder = path.join(scratch, 'model')
  fs.cpSync(tiny, folder, { recursive: true })
  return {
    name: 'model folder',
    seeds: [jsonSeed(fs.readFileSync(path.join(tiny, 'config.json'), 'utf8'))],
    words: CONFIG_WORDS,
    read(bytes) {
      fs.writeFileSync(path.join(folder, 'config.json'), bytes)
      const model = openModel(folder)
      try {
        model.matrix('down', 0)
      } finally {
        model.close()
      }
    },
  }
}

const REGEX_WORDS = ['(a+)+$', '\\\\p{L}', '{"Regex":"(.*)*x"}', '{"type":"Sequence","pretokenizers":[]}', '__proto__']

function tokenizers(scratch: string): Target[] {
  const folder = path.join(scratch, 'tokenizer')
  fs.mkdirSync(folder)
  const write = (name: string, bytes: Uint8Array | string): void => fs.writeFileSync(path.join(folder, name), bytes)
  const sound = { tokenizer: JSON.stringify(byteLevel()), config: '{"eos_token":"</s>"}' }
  const use = (next: () => void): void => {
    const { encode, encodePrompt, decode, vocabSize } = openTokenizer(folder)
    for (const text of ['Hello world, 12 <s> ünï', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!', '\n\n  ']) {
      next()
      const ids = encode(text)
      next()
      decode(ids)
      next()
      encodePrompt(text)
    }
    if (!Number.isSafeInteger(vocabSize)) throw new RangeError(`vocabSize is ${vocabSize}`)
  }
  return [
    {
      name: 'tokenizer.json',
      seeds: [byteLevel(), unigram(), wordPiece()].map(jsonSeed),
      words: REGEX_WORDS,
      read(bytes, next) {
        write('tokenizer.json', bytes)
        write('tokenizer_config.json', sound.config)
        use(next)
      },
    },
    {
      name: 'tokenizer_config.json',
      seeds: [
        jsonSeed({ eos_token: { content: '</s>', lstrip: false }, bos_token: '<s>', chat_template: 'x', lowercase: 1 }),
        jsonSeed({ eos_token: '</s>', tokenizer_class: 'LlamaTokenizer', remove_space: true, do_lower_case: true }),
      ],
      words: ['"remove_space":true', '"do_lowercase_and_remove_accent":true', '__proto__'],
      read(bytes, next) {
        write('tokenizer.json', sound.tokenizer)
        write('tokenizer_config.json', bytes)
        use(next)
      },
    },
  ]
}

const ADDED = [
  { id: 0, content: '<s>', special: true, single_word: false, lstrip: false, rstrip: false, normalized: false },
  { id: 1, content: '</s>', special: true, single_word: false, lstrip: true, rstrip: true, normalized: true },
]
const LETTERS = ' abcdefghijklmnopqrstuvwxyzHĠ,!'

function vocabulary(): Record<string, number> {
  return Object.fromEntries(['<s>', '</s>', ...LETTERS, 'he', 'll', 'Ġw'].map((piece, id) => [piece, id]))
}

function byteLevel(): object {
  return {
    version: '1.0',
    added_tokens: ADDED,
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Lowercase' }] },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: '\\s?\\p{L}+|\\p{N}{1,3}' }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: { type: 'ByteLevel', trim_offsets: true },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: vocabulary(), merges: [['h', 'e'], 'l l', ['Ġ', 'w']], unk_token: '</s>' },
  }
}

function unigram(): object {
  return {
    added_tokens: ADDED,
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Metaspace', replacement: '▁' },
        { type: 'Strip', content: ' ' },
      ],
    },
    model: { type: 'Unigram', unk_id: 0, vocab: Object.keys(vocabulary()).map((piece, i) => [piece, -i / 3]) },
  }
}

function wordPiece(): object {
  return {
    added_tokens: ADDED,
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '<s>',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: vocabulary(),
    },
  }
}

/** Loops, doublings and reaches that a template may try. */
const TEMPLATE_WORDS = [
  '{% for i in range(1000000000) %}',
  '{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}',
  '{% set ns = namespace(s="ab") %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}',
  '{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}',
  '{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}',
  '{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}',
  '{{ messages.constructor }}{{ messages.__proto__ }}{{ raise_exception.constructor("return process")() }}',
  '{{ "x"|indent(200000) }}',
  '{{ strftime_now("%Y") }}{{ strftime_now(1) }}',
  '{% endfor %}',
  '{%- if ',
  '{{ range(0, 10, 0) }}{{ range(1e400) }}',
  '(((((((((('.repeat(300),
  ' '.repeat(60_000),
]

function chatTemplate(scratch: string): Target {
  const folder = path.join(scratch, 'chat')
  fs.mkdirSync(folder)
  fs.writeFileSync(path.join(folder, 'tokenizer_config.json'), '{"bos_token":"<s>","eos_token":"</s>"}')
  const styles = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'chat/chats.json'), 'utf8')) as { template: string }[]
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'hello' },
    { role: 'user', content: 'bye' },
  ]
  return {
    name: 'chat template',
    // Some templates are slow enough to be stopped.
    share: 0.25,
    seeds: styles.map(({ template }) => ({ bytes: Buffer.from(template) })),
    words: TEMPLATE_WORDS,
    read(bytes) {
      fs.writeFileSync(path.join(folder, 'chat_template.jinja'), bytes)
      openChatTemplate(folder).render({ messages, tools: [{ name: 'f' }] }, { addGenerationPrompt: true })
    },
  }
}
