// node test/faults/block.mjs: compresses one block of a 7B model's shape, with random weights, under a memory limit, and says
// what it took. Takes many minutes, so no other command runs it. Needs npm run build.
// HIDDEN, FF, EXPERTS, TOKENS, MAX_MEMORY and THREADS change what is run.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const { HIDDEN = 4096, FF = 11_008, EXPERTS = 16, TOKENS = 65_536, MAX_MEMORY = '12G', THREADS = 2 } = process.env
const [hidden, ff] = [Number(HIDDEN), Number(FF)]
const HEAD_DIM = 128
const heads = hidden / HEAD_DIM
const folder = mkdtempSync(join(tmpdir(), 'spexpand-block-'))
const model = join(folder, 'model')

/** Names and shapes of the tensors of a llama of one block, over the tokenizer of the embedded demo model. */
function tensorsOf(vocab) {
  const block = 'model.layers.0'
  const square = ['q', 'k', 'v', 'o'].map((name) => [`${block}.self_attn.${name}_proj.weight`, [hidden, hidden]])
  const norms = [`${block}.input_layernorm`, `${block}.post_attention_layernorm`, 'model.norm']
  return [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ...square,
    [`${block}.mlp.gate_proj.weight`, [ff, hidden]],
    [`${block}.mlp.up_proj.weight`, [ff, hidden]],
    [`${block}.mlp.down_proj.weight`, [hidden, ff]],
    ...norms.map((name) => [`${name}.weight`, [hidden]]),
  ]
}

/** Numbers like those of a trained matrix in size, bf16; norms are 1. */
function* weights([rows, cols]) {
  const scale = 1 / Math.sqrt(cols ?? 1)
  let state = (rows * 31 + (cols ?? 0)) >>> 0
  for (let row = 0; row < rows; row += 256) {
    const count = Math.min(256, rows - row) * (cols ?? 1)
    const values = new Float32Array(count)
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      values[i] = cols === undefined ? 1 : (state / 2 ** 31 - 1) * scale * 1.7
    }
    yield Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16)
  }
}

function writeModel() {
  mkdirSync(model)
  const demo = root('calibration/demo-model')
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(demo, name), join(model, name))
  const config = JSON.parse(readFileSync(join(demo, 'config.json'), 'utf8'))
  const shape = { hidden_size: hidden, intermediate_size: ff, num_hidden_layers: 1, head_dim: HEAD_DIM }
  const attention = { num_attention_heads: heads, num_key_value_heads: heads }
  writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, ...shape, ...attention }))
  const tensors = tensorsOf(config.vocab_size)
  const header = {}
  let at = 0
  for (const [name, dims] of tensors) {
    const bytes = 2 * dims.reduce((product, dim) => product * dim, 1)
    header[name] = { dtype: 'BF16', shape: dims, data_offsets: [at, at + bytes] }
    at += bytes
  }
  const json = JSON.stringify(header)
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8)
  const length = new BigUint64Array([BigInt(padded.length)])
  const file = openSync(join(model, 'model.safetensors'), 'w')
  writeSync(file, new Uint8Array(length.buffer))
  writeSync(file, padded)
  for (const [, dims] of tensors) for (const piece of weights(dims)) writeSync(file, new Uint8Array(piece.buffer))
  closeSync(file)
}

const gigabytes = (bytes) => `${(bytes / 2 ** 30).toFixed(2)} GiB`

try {
  writeModel()
  const options = ['--experts', EXPERTS, '--tokens', TOKENS, '--threads', THREADS, '--max-memory', MAX_MEMORY]
  const limits = [...options.map(String), '--no-eval', '--quiet', '--json', '--out', join(folder, 'out')]
  const args = [root('dist/bin/spexpand.js'), 'compress', model, ...limits]
  const child = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (child.status !== 0) throw new Error(`compress ended with ${child.status}: ${child.stderr.trim()}`)
  const { peakBytes, memory, cpuMs, wallMs, stageMs, products } = JSON.parse(child.stdout)
  console.log(
    `hidden ${hidden}, FF ${ff}, ${EXPERTS} experts, ${TOKENS} tokens, --max-memory ${MAX_MEMORY}, ${products}`,
  )
  console.log(`peak ${gigabytes(peakBytes)}, expected ${gigabytes(memory.peakBytes)}: ${JSON.stringify(memory)}`)
  console.log(
    `processor ${(cpuMs / 60e3).toFixed(1)} min, wall ${(wallMs / 60e3).toFixed(1)} min: ${JSON.stringify(stageMs)}`,
  )
} finally {
  rmSync(folder, { recursive: true, force: true })
}
