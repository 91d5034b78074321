// Entry of the WebAssembly module: every kernel is exported from here.
export * from './halves'
export * from './lloyd'
export * from './eliminate'
export * from './refine'
export * from './scales'
export * from './select'
export * from './transpose'
export * from './triangle'
