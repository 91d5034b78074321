// Builds the WebAssembly SIMD kernels (AssemblyScript) into dist/kernels/spexpand.wasm: no C compiler needed.
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
mkdirSync(join(root, 'dist', 'kernels'), { recursive: true })
const { error, stderr } = await asc.main(
  [
    'src/kernels/assembly/index.ts',
    '--outFile',
    'dist/kernels/spexpand.wasm',
    '--runtime',
    'stub',
    '--optimizeLevel',
    '3',
    '--shrinkLevel',
    '0',
    '--converge',
    '--noAssert',
    '--enable',
    'simd',
    '--importMemory',
    '--use',
    'abort=',
  ],
  { baseDir: root },
)
if (error) {
  console.error(stderr.toString())
  console.error(error.message)
  process.exit(1)
}
