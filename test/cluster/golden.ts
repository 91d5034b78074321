import { readSafetensors } from '../../src/formats/safetensors/reader.ts'

const PATH = new URL('../golden/numeric/pca-kmeans-router.safetensors', import.meta.url).pathname

/** test/golden/numeric/pca-kmeans-router: scikit-learn in float64 (recipe: test/golden/make_goldens.py). */
export function readGolden(): {
  f32: (name: string) => Float32Array
  f64: (name: string) => Float64Array
  i64: (name: string) => number[]
} {
  const { tensors } = readSafetensors(PATH)
  const bytes = (name: string): ArrayBuffer => Uint8Array.from(tensors.get(name)!.bytes).buffer
  return {
    f32: (name) => new Float32Array(bytes(name)),
    f64: (name) => new Float64Array(bytes(name)),
    i64: (name) => Array.from(new BigInt64Array(bytes(name)), Number),
  }
}
