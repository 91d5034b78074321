import { readFileSync } from 'node:fs'
import { ResourceError } from '../errors.ts'

const PAGE_BYTES = 65536

/**
 * One instance of the WebAssembly kernels with its own memory. Memory is allocated once, up front: growing it would
 * detach every typed array that views it.
 */
export type Wasm<Exports> = {
  readonly exports: Exports
  readonly memory: WebAssembly.Memory
  /** Reserves `count` floats (64-byte aligned) and returns their byte address. Throws ResourceError when full. */
  allocate(count: number): number
  /** The floats at a byte address, as a view. */
  view(address: number, count: number): Float32Array
  /** Forgets every allocation; views handed out before must not be used any more. */
  reset(): void
}

let compiled: WebAssembly.Module | undefined

/** Instantiates the kernels with `bytes` of memory for operands (at most 4 GiB). */
export function instantiateWasm<Exports>(bytes: number): Wasm<Exports> {
  compiled ??= new WebAssembly.Module(readFileSync(wasmUrl()))
  const reserved = PAGE_BYTES // the module's own static data
  const pages = Math.ceil((reserved + bytes) / PAGE_BYTES) + 1
  if (pages > 65536) throw new ResourceError(`Cannot reserve ${bytes} bytes of WebAssembly memory: the limit is 4 GiB`)
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const instance = new WebAssembly.Instance(compiled, { env: { memory } })
  let next = reserved
  return {
    exports: instance.exports as Exports,
    memory,
    allocate(count) {
      const address = next
      next += Math.ceil((count * 4) / 64) * 64
      if (next > pages * PAGE_BYTES)
        throw new ResourceError(`Out of WebAssembly memory: wanted ${next} bytes, have ${pages * PAGE_BYTES}`)
      return address
    },
    view: (address, count) => new Float32Array(memory.buffer, address, count),
    reset() {
      next = reserved
    },
  }
}

/** The module lies in dist/kernels, seen from src/linalg (tests) and from dist/src/linalg (the built package). */
function wasmUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('../../dist/kernels/spexpand.wasm', import.meta.url)
    : new URL('../../kernels/spexpand.wasm', import.meta.url)
}
