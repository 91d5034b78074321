import { readSafetensors } from '../../src/formats/safetensors/reader.ts'

const PATH = new URL('../golden/numeric/wasserstein.safetensors', import.meta.url).pathname

/** test/golden/numeric/wasserstein: scipy in float64 (recipe: test/golden/make_goldens.py). */
export function readGolden(): {
  rows: Float32Array[]
  gauss: Float32Array
  toNormal: Float64Array
  toGauss: Float64Array
} {
  const { tensors } = readSafetensors(PATH)
  const bytes = (name: string): ArrayBuffer => Uint8Array.from(tensors.get(name)!.bytes).buffer
  const Y = new Float32Array(bytes('Y'))
  const n = tensors.get('Y')!.shape[1]!
  return {
    rows: Array.from({ length: Y.length / n }, (_, i) => Y.subarray(i * n, (i + 1) * n)),
    gauss: new Float32Array(bytes('gauss_sample')),
    toNormal: new Float64Array(bytes('w1_normal_quantiles')),
    toGauss: new Float64Array(bytes('w1_gauss_sample')),
  }
}
