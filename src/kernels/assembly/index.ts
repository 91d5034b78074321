// Entry of the WebAssembly module: every kernel is exported from here.
export * from './halves'
export * from './lloyd'
