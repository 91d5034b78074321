import type { CompressResult, EvaluateResult, MatrixStats, PlanResult } from '../../src/index.ts'

const expert = { tokens: 100, error: 0.3, damping: 0.01, factorizations: 1, deadInputs: 0 }

function matrix(name: MatrixStats['matrix'], error: number): MatrixStats {
  return { matrix: name, sparsity: 0.7, error, baselineError: error + 0.1, experts: [expert, expert] }
}

const block = {
  layer: 0,
  tokensPerExpert: [12, 300, 14_000, 700],
  matrices: [matrix('gate_proj', 0.3), matrix('up_proj', 0.31), matrix('down_proj', 0.4)],
}

/** A finished two-block run with four experts, one fallback and a resumed block. */
export const compressResult: CompressResult = {
  out: 'demo-spexpand',
  blocks: [block, { ...block, layer: 1 }],
  fallbacks: [{ where: 'layer 1 gate_proj expert 0', what: 'damping 0.1', because: 'pivot 3 was negative at 0.01' }],
  products: 'onnxruntime',
  ffBytesDense: 1_000_000,
  ffBytesStored: 1_450_000,
  ffBytesPerTokenDense: 1_000_000,
  ffBytesPerToken: 363_000,
  sparsity: 0.7,
  resumedBlocks: 1,
  retries: [],
  memory: { workers: 2, expertsAtOnce: 4, spooled: false, peakBytes: 700_000_000 },
  peakBytes: 650_000_000,
  cpuMs: 23_456,
  wallMs: 12_345,
  stageMs: { calibrate: 2000, solve: 10_000 },
}

/** A measurement over two domains. */
export const evaluateResult: EvaluateResult = {
  model: 'demo-spexpand',
  windows: 64,
  sequenceLength: 256,
  targets: 16_320,
  perplexity: 29.423,
  standardError: 0.61,
  nll: 3.38,
  kl: 0.1104,
  topOneAgreement: 0.812,
  densePerplexity: 26.47,
  domains: {
    kjv: { targets: 8000, perplexity: 12.1, standardError: 0.2, nll: 2.49 },
    moby: { targets: 8320, perplexity: 14_905.4, standardError: 20, nll: 9.61 },
  },
  peakBytes: 3e8,
  runtime: 'onnxruntime cpu, portable functions (stream)',
  wallMs: 7300,
}

/** A plan whose artifact grows. */
export const planResult: PlanResult = {
  model: 'demo',
  family: 'llama',
  blocks: 8,
  hidden: 256,
  ff: 768,
  parameters: 7_300_000,
  ffParameters: 4_718_592,
  experts: 16,
  pattern: { kind: 'unstructured', sparsity: 0.7 },
  values: 'f16',
  tokens: 131_072,
  ffBytesDense: 9_437_184,
  ffBytesStored: 54_700_000,
  ffBytesPerTokenDense: 9_437_184,
  ffBytesPerToken: 3_420_000,
  artifactBytes: 60_000_000,
  diskBytes: 100_000_000,
  freeDiskBytes: 50_000_000,
  memory: { workers: 2, expertsAtOnce: 4, spooled: false, peakBytes: 700_000_000 },
  seconds: 61,
  cpuSeconds: 110,
  probe: { gflops: 250, products: 'amx' },
  tokensPerExpert: 8192,
  rankRisk: [],
  warnings: ['16 experts are bigger on disk'],
}
