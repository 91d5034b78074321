import { nativeProducts } from '../runtime/native-products.ts'

/** What the products of a run are computed with: part of the fingerprint, since their last bits differ. */
export function productsOf({ native }: { readonly native: boolean }): 'onnxruntime' | 'amx' {
  return native && nativeProducts() ? 'amx' : 'onnxruntime'
}
