// Node has WebAssembly, but its types come with the DOM library only: the few entries used here.
declare namespace WebAssembly {
  type Module = object
  const Module: new (bytes: Uint8Array) => Module
  class Memory {
    readonly buffer: ArrayBuffer
    constructor(descriptor: { initial: number; maximum: number })
  }
  class Instance {
    readonly exports: unknown
    constructor(module: Module, imports: Record<string, Record<string, unknown>>)
  }
}
